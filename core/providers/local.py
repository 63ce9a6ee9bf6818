"""Stop 6 of 9 · from core/jobs/execute.py · to core/jobs/finish.py

`local/smollm2-135m`: a language model small enough for any laptop, served on loopback by `inferd serve` and
`inferd demo` behind a key that is new at each start. core/providers/catalogue.py lists it only when
INFERD_LOCAL_BASE_URL says where it is.
"""

from pydantic import SecretStr

from core.providers.openai_compatible import Endpoint, OpenAICompatible


def local(base_url: str, api_key: SecretStr | None = None, concurrency: int = 256) -> OpenAICompatible:
    """The adapter for the model served at `base_url`."""
    return OpenAICompatible(Endpoint(base_url=base_url, api_key=api_key, concurrency=concurrency))
