"""The tables of faults: closed, consistent, and right about each status and body that a provider may send."""

from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from core.domain.retry import Disposition
from core.providers.fault_codes import CODES, FaultClass, FaultCode
from core.providers.faults import DISPOSITIONS, Fault, classify_status, decode_body
from core.providers.redact import MAX_TEXT, Redaction

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
C = FaultCode


def classify(status: int, body: JsonValue = "", headers: dict[str, str] | None = None) -> Fault:
    return classify_status(status, headers or {}, body, now=NOW)


def test_every_code_is_documented_and_every_class_decided() -> None:
    assert set(CODES) == set(FaultCode)
    assert set(DISPOSITIONS) == set(FaultClass)
    assert {info.fault_class for info in CODES.values()} == set(FaultClass)


@pytest.mark.parametrize("code", FaultCode)
def test_each_code_makes_a_fault_with_sentences(code: FaultCode) -> None:
    fault = Fault(code, http_status=418, retry_after=2.0)

    assert fault.next_step.endswith((".", "`"))
    assert fault.message.endswith(".")
    assert fault.disposition is DISPOSITIONS[fault.fault_class]
    failure = fault.failure()
    assert (failure.error_class, failure.code, failure.message) == (fault.fault_class.value, code.value, fault.message)
    assert (failure.http_status, failure.retry_after, failure.billed) == (418, 2.0, CODES[code].billed)


def test_what_waits_for_the_provider_is_not_paid() -> None:
    waiting = [info for info in CODES.values() if DISPOSITIONS[info.fault_class] is Disposition.SNOOZE]

    assert waiting
    assert {info.billed for info in waiting} == {"no"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, C.REDIRECTED),
        (308, C.REDIRECTED),
        (400, C.INVALID_REQUEST),
        (401, C.AUTH_FAILED),
        (402, C.PAYMENT_REQUIRED),
        (403, C.PERMISSION_DENIED),
        (404, C.ENDPOINT_NOT_FOUND),
        (405, C.ENDPOINT_NOT_FOUND),
        (408, C.PROVIDER_TIMEOUT),
        (409, C.PROVIDER_CONFLICT),
        (413, C.REQUEST_TOO_LARGE),
        (415, C.INVALID_REQUEST),
        (418, C.INVALID_REQUEST),
        (422, C.INVALID_REQUEST),
        (424, C.PROVIDER_CONFLICT),
        (425, C.PROVIDER_CONFLICT),
        (429, C.RATE_LIMITED),
        (498, C.RATE_LIMITED),
        (500, C.PROVIDER_ERROR),
        (501, C.PROVIDER_ERROR),
        (502, C.PROVIDER_UNAVAILABLE),
        (503, C.PROVIDER_UNAVAILABLE),
        (504, C.PROVIDER_TIMEOUT),
        (522, C.PROVIDER_UNAVAILABLE),
        (524, C.PROVIDER_TIMEOUT),
        (529, C.PROVIDER_OVERLOADED),
        (599, C.PROVIDER_ERROR),
        (700, C.PROVIDER_ERROR),
    ],
)
def test_a_status_alone(status: int, code: FaultCode) -> None:
    fault = classify(status)

    assert (fault.code, fault.http_status) == (code, status)
    assert f"HTTP {status}" in fault.message


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (429, {"type": "insufficient_quota"}, C.INSUFFICIENT_QUOTA),
        (429, {"code": "credit_balance_exhausted"}, C.INSUFFICIENT_QUOTA),
        (429, {"code": "project_spend_limit_exceeded"}, C.INSUFFICIENT_QUOTA),
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, C.RATE_LIMITED),
        (429, {"code": "slow_down"}, C.RATE_LIMITED),
        (503, {"type": "server_error", "message": "overloaded"}, C.PROVIDER_UNAVAILABLE),
        (503, {"code": 503, "message": "Loading model", "type": "unavailable_error"}, C.MODEL_LOADING),
        (503, {"message": "downloading failed"}, C.PROVIDER_UNAVAILABLE),
        (400, {"code": "context_length_exceeded"}, C.CONTEXT_LENGTH),
        (400, {"code": 400, "type": "exceed_context_size_error"}, C.CONTEXT_LENGTH),
        (400, {"message": "This model's maximum context length is 4096 tokens."}, C.CONTEXT_LENGTH),
        (422, {"message": "`inputs` tokens + `max_new_tokens` must be <= 4096"}, C.CONTEXT_LENGTH),
        (400, {"code": "content_filter"}, C.CONTENT_FILTERED),
        (400, {"code": "content_policy_violation"}, C.CONTENT_FILTERED),
        (403, {"message": "Your input was flagged"}, C.CONTENT_FILTERED),
        (404, {"message": "The model `gpt-9` does not exist"}, C.MODEL_NOT_FOUND),
        (404, {"message": "Not Found"}, C.ENDPOINT_NOT_FOUND),
        (400, {"code": "model_not_found"}, C.MODEL_NOT_FOUND),
        (200, {"code": 429, "message": "slow"}, C.RATE_LIMITED),
        (200, {"code": 502}, C.PROVIDER_UNAVAILABLE),
        (200, {"type": "overloaded_error"}, C.PROVIDER_OVERLOADED),
        (200, {"code": "server_error"}, C.PROVIDER_ERROR),
        (200, {"code": "rate_limit_exceeded"}, C.RATE_LIMITED),
        (200, {"code": True}, C.ANSWER_IS_ERROR),
        (200, {"code": 7}, C.ANSWER_IS_ERROR),
    ],
)
def test_the_body_says_more_than_the_status(status: int, error: dict[str, JsonValue], code: FaultCode) -> None:
    assert classify(status, {"error": error}).code is code


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "from the object"}}, "from the object"),
        ({"error": "from a text"}, "from a text"),
        ({"detail": "from FastAPI"}, "from FastAPI"),
        ({"message": "from a proxy"}, "from a proxy"),
        ("plain words", "plain words"),
        ("<html>a page</html>", "HTTP 500)"),
        ([1, 2], "HTTP 500)"),
        (None, "HTTP 500)"),
        ({"error": {"message": 7, "code": None}}, "HTTP 500)"),
    ],
)
def test_any_shape_of_error_is_read(body: JsonValue, words: str) -> None:
    fault = classify(500, body)

    assert fault.code is C.PROVIDER_ERROR
    assert words in fault.message
    assert "html" not in fault.message


def test_payment_with_a_time_is_a_limit() -> None:
    assert classify(402, "", {"Retry-After": "30"}).code is C.RATE_LIMITED
    assert classify(402, "", {"Retry-After": "30"}).retry_after == 30


def test_a_loading_model_says_how_long() -> None:
    body: JsonValue = {"error": "Model X is currently loading", "estimated_time": 20.5}

    assert (classify(503, body).code, classify(503, body).retry_after) == (C.MODEL_LOADING, 20.5)
    body = {"error": "Model X is currently loading", "estimated_time": 900}
    assert classify(503, body).retry_after == 60


def test_should_retry_false_is_obeyed_where_it_matters() -> None:
    no = {"X-Should-Retry": "false"}

    assert classify(500, "", no).disposition is Disposition.GIVE_UP
    assert classify(429, "", no).code is C.RATE_LIMITED
    assert classify(401, "", no).code is C.AUTH_FAILED
    assert classify(500, "", {"x-should-retry": "true"}).disposition is Disposition.RETRY


def test_a_message_is_redacted_and_short() -> None:
    hide = Redaction(secrets=("hunter2hunter2",), prompts=("the whole long secret prompt",))
    body = "hunter2hunter2 the whole long secret prompt " + "word " * 1000

    message = classify_status(400, {}, body, now=NOW, hide=hide).message

    assert "[key] [prompt] word word" in message
    assert "hunter2" not in message
    assert len(message) < MAX_TEXT + 100


def test_a_body_is_json_or_text() -> None:
    assert decode_body(b'{"a": [1]}') == {"a": [1]}
    assert decode_body(b"<html>\xff") == "<html>�"
    assert decode_body(b"") == ""
