"""Stop 6 of 9 · from core/jobs/execute.py · to core/jobs/finish.py

A provider without a model, a key or a network: it returns the last user message, or fails as scripted. The model's
name and the params decide everything, so the same job always ends in the same way. The quickstart, the tests and the
bench use it; it shows how inferd behaves when a provider misbehaves.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from core.domain.errors import InvalidParameter
from core.domain.inference import InferenceRequest, InferenceResult
from core.providers.answer import read_answer, text_of
from core.providers.chat_stream import ChatStream
from core.providers.faults import Fault, FaultCode
from core.providers.params import CHAT_PARAMS

_Flag = Annotated[bool, Field(strict=True)]
_Seconds = Annotated[float, Field(strict=True, ge=0, le=86_400, allow_inf_nan=False)]
_Count = Annotated[int, Field(strict=True, ge=0, le=1_000)]


@dataclass(frozen=True, slots=True)
class Script:
    """The script of a call; the fields are applied in this order.

    `hang`: never responds. `delay_seconds`: waits first. `fatal`: fails with an error that is not retried. `until_run`:
    runs with a lower number get 429 with `retry_after` seconds. `fail_times`: this many attempts get 500. `garbage`:
    responds without choices. `stream`: responds in chunks, which are joined.
    """

    hang: _Flag = False
    delay_seconds: _Seconds = 0.0
    fatal: _Flag = False
    until_run: _Count = 0
    retry_after: _Seconds = 1.0
    fail_times: _Count = 0
    garbage: _Flag = False
    stream: _Flag = False


MODELS: Final[Mapping[str, Script]] = MappingProxyType(
    {
        "echo": Script(),
        "slow": Script(delay_seconds=2.0),
        "flaky": Script(fail_times=2),
        "fail": Script(fatal=True),
        "rate-limited": Script(until_run=2),
        "garbage": Script(garbage=True),
        "stream": Script(stream=True),
        "timeout": Script(hang=True),
    }
)
_SCRIPT_PARAMS: Final = frozenset(field.name for field in fields(Script))
# OpenAI's params are accepted and ignored, so that a job can be tried here at no cost.
ECHO_PARAMS: Final = _SCRIPT_PARAMS | CHAT_PARAMS
_SCRIPT: Final = TypeAdapter(Script)


def script_of(model: str, params: Mapping[str, JsonValue]) -> Script:
    """Returns the model's script with the params applied. Raises InvalidParameter for a value of the wrong type."""
    preset = MODELS[model]
    if not params:
        return preset
    script: dict[str, JsonValue] = {name: getattr(preset, name) for name in _SCRIPT_PARAMS}
    script |= {name: value for name, value in params.items() if name in _SCRIPT_PARAMS}
    try:
        return _SCRIPT.validate_python(script)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        name = str(problem["loc"][0])
        raise InvalidParameter(f"`{name}` is wrong: {problem['msg']}.", param=f"params.{name}") from None


class Echo:
    """A Provider (core/providers/port.py) that needs no server."""

    async def infer(self, request: InferenceRequest) -> InferenceResult:
        if request.model not in MODELS:
            raise Fault(FaultCode.MODEL_NOT_FOUND, http_status=404)
        try:
            script = script_of(request.model, request.params)
        except InvalidParameter as error:
            raise Fault(FaultCode.INVALID_REQUEST, detail=error.message, http_status=400) from None
        await _wait(script, request.timeout)
        _fail(script, request)
        body = _body(script, request)
        return read_answer(body, model=request.model, request_id=f"echo-{request.job_id.hex}-{request.run_no}")

    async def aclose(self) -> None:
        """Does nothing: no connection is open."""


async def _wait(script: Script, seconds: float) -> None:
    if not script.hang and not script.delay_seconds:
        return
    try:
        async with asyncio.timeout(seconds):
            if script.hang:
                await asyncio.Event().wait()
            await asyncio.sleep(script.delay_seconds)
    except TimeoutError:
        raise Fault(FaultCode.ATTEMPT_TIMEOUT, detail=f"after {seconds:g} s") from None


def _fail(script: Script, request: InferenceRequest) -> None:
    if script.fatal:
        raise Fault(FaultCode.INVALID_REQUEST, detail="scripted", http_status=400)
    if request.run_no < script.until_run:
        raise Fault(FaultCode.RATE_LIMITED, detail="scripted", http_status=429, retry_after=script.retry_after)
    if request.attempt <= script.fail_times:
        raise Fault(FaultCode.PROVIDER_ERROR, detail="scripted", http_status=500)


def _body(script: Script, request: InferenceRequest) -> JsonValue:
    texts = [text_of(message.get("content")) or "" for message in request.messages if message.get("role") == "user"]
    text = texts[-1] if texts else ""
    asked = sum(len((text_of(message.get("content")) or "").split()) for message in request.messages)
    usage: dict[str, JsonValue] = {"prompt_tokens": asked, "completion_tokens": len(text.split())}
    if script.garbage:
        return {"choices": None}
    if script.stream:
        return _joined(text, usage)
    message: dict[str, JsonValue] = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def _joined(text: str, usage: dict[str, JsonValue]) -> JsonValue:
    stream = ChatStream()
    for piece in text.partition(" "):
        stream.add({"choices": [{"index": 0, "delta": {"role": "assistant", "content": piece}}]})
    stream.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
    return stream.body()
