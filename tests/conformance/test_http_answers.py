"""What the HTTP adapter makes of each answer, good and bad, from a real socket."""

from typing import Any

import pytest
from pydantic import JsonValue

from core.domain.inference import Usage
from core.domain.retry import Disposition
from core.providers.fault_codes import FaultCode
from tests.conformance.fake_provider import FakeProvider
from tests.conformance.http_adapter import AdapterFactory, ask, fault

RETRY, SNOOZE, GIVE_UP = Disposition.RETRY, Disposition.SNOOZE, Disposition.GIVE_UP
WAIT_OUT = Disposition.WAIT_OUT
C = FaultCode


MISBEHAVIOURS = [
    ("rate-limited", C.RATE_LIMITED, SNOOZE, 429, "no"),
    ("loading", C.MODEL_LOADING, SNOOZE, 503, "no"),
    ("quota", C.INSUFFICIENT_QUOTA, GIVE_UP, 429, "no"),
    ("payment", C.PAYMENT_REQUIRED, GIVE_UP, 402, "no"),
    ("unauthorized", C.AUTH_FAILED, GIVE_UP, 401, "no"),
    ("forbidden", C.PERMISSION_DENIED, GIVE_UP, 403, "no"),
    ("not-found", C.MODEL_NOT_FOUND, GIVE_UP, 404, "no"),
    ("no-endpoint", C.ENDPOINT_NOT_FOUND, GIVE_UP, 404, "no"),
    ("invalid", C.INVALID_REQUEST, GIVE_UP, 400, "no"),
    ("context", C.CONTEXT_LENGTH, GIVE_UP, 400, "no"),
    ("filtered", C.CONTENT_FILTERED, GIVE_UP, 400, "maybe"),
    ("too-large", C.REQUEST_TOO_LARGE, GIVE_UP, 413, "no"),
    ("conflict", C.PROVIDER_CONFLICT, RETRY, 409, "no"),
    ("error", C.PROVIDER_ERROR, RETRY, 500, "maybe"),
    ("no-retry", C.RETRY_REFUSED, GIVE_UP, 500, "maybe"),
    ("unavailable", C.PROVIDER_UNAVAILABLE, WAIT_OUT, 503, "no"),
    ("bad-gateway", C.PROVIDER_UNAVAILABLE, WAIT_OUT, 502, "no"),
    ("gateway-timeout", C.PROVIDER_TIMEOUT, RETRY, 504, "maybe"),
    ("overloaded", C.PROVIDER_OVERLOADED, WAIT_OUT, 529, "no"),
    ("redirect", C.REDIRECTED, GIVE_UP, 307, "no"),
    ("error-in-200", C.RATE_LIMITED, SNOOZE, 429, "no"),
    ("strange-error-in-200", C.ANSWER_IS_ERROR, RETRY, 200, "maybe"),
    ("error-in-stream", C.PROVIDER_UNAVAILABLE, WAIT_OUT, 502, "no"),
    ("choices-null", C.ANSWER_EMPTY, RETRY, None, "maybe"),
    ("choices-empty", C.ANSWER_EMPTY, RETRY, None, "maybe"),
    ("no-content", C.ANSWER_EMPTY, RETRY, None, "yes"),
    ("filtered-answer", C.CONTENT_FILTERED, GIVE_UP, None, "yes"),
    ("wrong-types", C.ANSWER_MALFORMED, RETRY, None, "maybe"),
    ("a-list", C.ANSWER_MALFORMED, RETRY, None, "maybe"),
    ("html", C.ANSWER_NOT_JSON, RETRY, None, "maybe"),
    ("broken-json", C.ANSWER_NOT_JSON, RETRY, None, "maybe"),
    ("drop-before-headers", C.CONNECTION_LOST, RETRY, None, "maybe"),
    ("drop-after-headers", C.CONNECTION_LOST, RETRY, None, "maybe"),
    ("hang", C.ATTEMPT_TIMEOUT, RETRY, None, "maybe"),
    ("hang-after-headers", C.ATTEMPT_TIMEOUT, RETRY, None, "maybe"),
    ("drip", C.ATTEMPT_TIMEOUT, RETRY, None, "maybe"),
]


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
@pytest.mark.parametrize(("model", "code", "disposition", "status", "billed"), MISBEHAVIOURS)
async def test_each_misbehaviour_is_one_call_and_one_fault(
    fake: FakeProvider,
    adapter: AdapterFactory,
    model: str,
    code: FaultCode,
    disposition: Disposition,
    status: int | None,
    billed: str,
    streaming: bool,
) -> None:
    slow = code is C.ATTEMPT_TIMEOUT
    caught = await fault(adapter(streaming=streaming), ask(model, timeout=0.3 if slow else 5.0))

    assert (caught.code, caught.disposition, caught.http_status, caught.billed) == (code, disposition, status, billed)
    assert len(fake.calls) == 1


@pytest.mark.parametrize(("streaming", "code"), [(False, C.CONNECTION_LOST), (True, C.STREAM_CUT)])
async def test_a_cut_answer_is_not_an_answer(adapter: AdapterFactory, streaming: bool, code: FaultCode) -> None:
    assert (await fault(adapter(streaming=streaming), ask("cut-stream"))).code is code


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
async def test_the_answer_carries_usage_and_who_gave_it(adapter: AdapterFactory, streaming: bool) -> None:
    # U+2028 ends a line for str.splitlines, and must not end an event.
    result = await adapter(streaming=streaming).infer(ask("ok", prompt="zwei\u2028Zeilen"))

    assert result.text == "zwei\u2028Zeilen"
    assert result.usage == Usage(input_tokens=7, output_tokens=3, cached_tokens=2, reasoning_tokens=1)
    assert (result.model, result.provider_request_id, result.finish_reason) == ("fake-1", "req_fake", "stop")


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
async def test_a_tool_call_is_an_answer(adapter: AdapterFactory, streaming: bool) -> None:
    result = await adapter(streaming=streaming).infer(ask("tool-call"))

    function: dict[str, JsonValue] = {"name": "weather", "arguments": '{"city": "Bern"}'}
    assert result.message["tool_calls"] == [{"id": "t1", "type": "function", "function": function}]
    assert (result.text, result.finish_reason) == ("", "tool_calls")


async def test_thinking_until_the_limit_is_an_answer(adapter: AdapterFactory) -> None:
    result = await adapter().infer(ask("thinking"))

    assert (result.text, result.finish_reason) == ("", "length")


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
@pytest.mark.parametrize("model", ["huge:1048577", "zipped:1048577"])
async def test_an_answer_that_is_too_large_is_read_no_further_and_not_paid_twice(
    fake: FakeProvider, adapter: AdapterFactory, model: str, streaming: bool
) -> None:
    provider = adapter(streaming=streaming, concurrency=1, max_answer_bytes=1_048_576)
    caught = await fault(provider, ask(model))

    assert (caught.code, caught.disposition, caught.billed) == (C.ANSWER_TOO_LARGE, GIVE_UP, "maybe")
    assert len(fake.calls) == 1
    # The connection was given back.
    assert (await provider.infer(ask("ok"))).text


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
async def test_a_compressed_answer_is_an_answer(adapter: AdapterFactory, streaming: bool) -> None:
    assert (await adapter(streaming=streaming).infer(ask("zipped", prompt="zwei"))).text == "zwei"


async def test_what_does_not_unpack_is_no_answer(adapter: AdapterFactory) -> None:
    assert (await fault(adapter(), ask("broken-zip"))).code is C.ANSWER_NOT_JSON


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
async def test_params_of_the_servers_own_are_passed_on(
    fake: FakeProvider, adapter: AdapterFactory, streaming: bool
) -> None:
    own: dict[str, Any] = {
        "top_k": 40,
        "chat_template_kwargs": {"enable_thinking": False},
        "guided_json": {"type": "object"},
    }
    await adapter(streaming=streaming).infer(ask("ok", temperature=0.5, **own))

    (call,) = fake.calls
    assert {name: call.body[name] for name in own} == own
    assert (call.body["temperature"], call.model, bool(call.body.get("stream"))) == (0.5, "ok", streaming)


async def test_params_that_are_ours_never_reach_the_server(fake: FakeProvider, adapter: AdapterFactory) -> None:
    caught = await fault(adapter(), ask("ok", stream=True))

    assert (caught.code, fake.calls) == (C.INVALID_REQUEST, [])
