"""What the tests of the HTTP adapter share: how a request is made and what must never be seen of it."""

from collections.abc import Callable

import pytest
from pydantic import JsonValue

from core.domain.ids import new_job_id
from core.domain.inference import InferenceRequest
from core.providers.faults import Fault
from core.providers.openai_compatible import OpenAICompatible

# Not of a shape that anybody would recognise as a key.
KEY = "correct horse battery"
PROMPT = "my grandmother's secret recipe needs three eggs"

AdapterFactory = Callable[..., OpenAICompatible]


def ask(model: str, *, timeout: float = 5.0, prompt: str = PROMPT, **params: JsonValue) -> InferenceRequest:
    return InferenceRequest(new_job_id(), model, ({"role": "user", "content": prompt},), params, 1, 1, timeout)


async def fault(provider: OpenAICompatible, request: InferenceRequest) -> Fault:
    with pytest.raises(Fault) as caught:
        await provider.infer(request)
    return caught.value
