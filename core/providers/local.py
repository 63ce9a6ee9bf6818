"""Stop 6 of 9 · from core/jobs/execute.py · to core/jobs/finish.py

`local/smollm2-135m`: a language model small enough for any laptop. `inferd serve` and `inferd demo` serve it on
loopback with a new key at each start. core/providers/catalogue.py lists it only when INFERD_LOCAL_BASE_URL is set.
"""

from pydantic import SecretStr

from core.providers.openai_compatible import Endpoint, OpenAICompatible


def local(base_url: str, api_key: SecretStr | None = None, concurrency: int = 256) -> OpenAICompatible:
    """Returns the adapter for the model at `base_url`."""
    return OpenAICompatible(Endpoint(base_url=base_url, api_key=api_key, concurrency=concurrency))
