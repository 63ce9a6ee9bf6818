"""Classifies the faults of providers. Only this file says which of them are retried.

Adapters raise Fault, and classify an HTTP response with classify_status. core/jobs/execute.py catches it and passes
`failure()` and `disposition` to core/domain/retry.py. A Fault holds no prompt and no key.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

import orjson
from pydantic import JsonValue

from core.domain.retry import Disposition
from core.domain.transitions import Billed, Failure
from core.providers.fault_codes import CODES, CodeInfo, FaultClass, FaultCode
from core.providers.redact import Redaction
from core.providers.retry_after import retry_after

__all__ = ["CODES", "DISPOSITIONS", "CodeInfo", "Fault", "FaultClass", "FaultCode", "classify_status", "decode_body"]

DISPOSITIONS: Final[Mapping[FaultClass, Disposition]] = MappingProxyType(
    {
        FaultClass.UNREACHABLE: Disposition.WAIT_OUT,
        FaultClass.UNAVAILABLE: Disposition.WAIT_OUT,
        FaultClass.SERVER_ERROR: Disposition.RETRY,
        FaultClass.TIMEOUT: Disposition.RETRY,
        FaultClass.INTERRUPTED: Disposition.RETRY,
        FaultClass.BAD_ANSWER: Disposition.RETRY,
        FaultClass.UNEXPECTED: Disposition.RETRY,
        FaultClass.THROTTLED: Disposition.SNOOZE,
        FaultClass.LOADING: Disposition.SNOOZE,
        FaultClass.AUTH: Disposition.GIVE_UP,
        FaultClass.QUOTA: Disposition.GIVE_UP,
        FaultClass.REFUSED: Disposition.GIVE_UP,
        FaultClass.INVALID: Disposition.GIVE_UP,
        FaultClass.MISCONFIGURED: Disposition.GIVE_UP,
    }
)

_F = FaultCode
_BY_STATUS: Final[Mapping[int, FaultCode]] = MappingProxyType(
    {
        401: _F.AUTH_FAILED,
        402: _F.PAYMENT_REQUIRED,
        403: _F.PERMISSION_DENIED,
        404: _F.ENDPOINT_NOT_FOUND,
        405: _F.ENDPOINT_NOT_FOUND,
        408: _F.PROVIDER_TIMEOUT,
        409: _F.PROVIDER_CONFLICT,
        413: _F.REQUEST_TOO_LARGE,
        424: _F.PROVIDER_CONFLICT,
        425: _F.PROVIDER_CONFLICT,
        429: _F.RATE_LIMITED,
        498: _F.RATE_LIMITED,
        502: _F.PROVIDER_UNAVAILABLE,
        503: _F.PROVIDER_UNAVAILABLE,
        504: _F.PROVIDER_TIMEOUT,
        520: _F.PROVIDER_UNAVAILABLE,
        521: _F.PROVIDER_UNAVAILABLE,
        522: _F.PROVIDER_UNAVAILABLE,
        523: _F.PROVIDER_UNAVAILABLE,
        524: _F.PROVIDER_TIMEOUT,
        529: _F.PROVIDER_OVERLOADED,
    }
)
_BY_BODY_CODE: Final[Mapping[str, FaultCode]] = MappingProxyType(
    {
        "insufficient_quota": _F.INSUFFICIENT_QUOTA,
        "credit_balance_exhausted": _F.INSUFFICIENT_QUOTA,
        "organization_spend_limit_exceeded": _F.INSUFFICIENT_QUOTA,
        "project_spend_limit_exceeded": _F.INSUFFICIENT_QUOTA,
        "organization_usage_limit_exceeded": _F.INSUFFICIENT_QUOTA,
        "enforced_spend_limit_reached": _F.INSUFFICIENT_QUOTA,
        "billing_hard_limit_reached": _F.INSUFFICIENT_QUOTA,
        "billing_not_active": _F.INSUFFICIENT_QUOTA,
        "context_length_exceeded": _F.CONTEXT_LENGTH,
        "string_above_max_length": _F.CONTEXT_LENGTH,
        "exceed_context_size_error": _F.CONTEXT_LENGTH,
        "content_filter": _F.CONTENT_FILTERED,
        "content_policy_violation": _F.CONTENT_FILTERED,
        "responsibleaipolicyviolation": _F.CONTENT_FILTERED,
        "model_not_found": _F.MODEL_NOT_FOUND,
        "invalid_api_key": _F.AUTH_FAILED,
        "rate_limit_exceeded": _F.RATE_LIMITED,
        "slow_down": _F.RATE_LIMITED,
    }
)
# For servers whose errors have a message but no code: vLLM, TGI, llama.cpp, OpenRouter's moderation, Ollama.
_BY_WORDS: Final[tuple[tuple[frozenset[int], re.Pattern[str], FaultCode], ...]] = (
    (
        frozenset({400, 413, 422}),
        re.compile(r"(?i)context (?:length|window|size)|`inputs` tokens|prompt is too long"),
        _F.CONTEXT_LENGTH,
    ),
    (
        frozenset({400, 403}),
        re.compile(r"(?i)content (?:management )?policy|requires moderation|was flagged"),
        _F.CONTENT_FILTERED,
    ),
    (frozenset({404}), re.compile(r"(?i)\bmodel\b"), _F.MODEL_NOT_FOUND),
    (frozenset({503}), re.compile(r"(?i)\bloading\b|scaled to zero"), _F.MODEL_LOADING),
)
_BY_HUNDRED: Final[Mapping[int, FaultCode]] = MappingProxyType(
    {2: _F.ANSWER_IS_ERROR, 3: _F.REDIRECTED, 4: _F.INVALID_REQUEST, 5: _F.PROVIDER_ERROR}
)
# The HTTP status that stands for an error inside a 200.
_STATUS_OF_NAME: Final[Mapping[str, int]] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "permission_error": 403,
        "not_found_error": 404,
        "rate_limit_error": 429,
        "api_error": 500,
        "server_error": 500,
        "internal_server_error": 500,
        "overloaded_error": 529,
    }
)
_OK: Final = 200


class Fault(Exception):
    """One failed call. The code decides the class; `detail` must be our own text, or redacted."""

    def __init__(
        self,
        code: FaultCode,
        *,
        detail: str = "",
        http_status: int | None = None,
        retry_after: float | None = None,
        billed: Billed | None = None,
    ) -> None:
        info = CODES[code]
        self.code = code
        self.fault_class = info.fault_class
        self.message = f"{info.sentence} ({detail})" if detail else info.sentence
        self.http_status = http_status
        self.retry_after = retry_after
        self.billed: Billed = billed or info.billed
        super().__init__(f"{code}: {self.message}")

    @property
    def disposition(self) -> Disposition:
        return DISPOSITIONS[self.fault_class]

    @property
    def next_step(self) -> str:
        return CODES[self.code].next_step

    def failure(self) -> Failure:
        return Failure(
            error_class=self.fault_class.value,
            code=self.code.value,
            message=self.message,
            http_status=self.http_status,
            retry_after=self.retry_after,
            billed=self.billed,
        )


def decode_body(raw: bytes) -> JsonValue:
    """Returns the parsed JSON, or the text when `raw` is not JSON."""
    try:
        body: JsonValue = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode("utf-8", "replace")
    return body


def classify_status(
    status: int, headers: Mapping[str, str], body: JsonValue, *, now: datetime, hide: Redaction | None = None
) -> Fault:
    """Returns the Fault for an HTTP response. The error inside a 200 decides by its own code."""
    reported = _read_error(body)
    if status == _OK:
        status = reported.status or _OK
    wait = retry_after(headers, now=now, text=reported.message)
    code = _code(status, reported)
    if code is FaultCode.PAYMENT_REQUIRED and wait is not None:
        # OpenRouter sends 402 with a time for a limit that refills, and without one when credit is used up.
        code = FaultCode.RATE_LIMITED
    if wait is None and code is FaultCode.MODEL_LOADING:
        wait = reported.estimated_time
    retried = DISPOSITIONS[CODES[code].fault_class] in {Disposition.RETRY, Disposition.WAIT_OUT}
    if retried and {name.lower(): value for name, value in headers.items()}.get("x-should-retry") == "false":
        code = FaultCode.RETRY_REFUSED
    detail = f"HTTP {status}" + (f": {(hide or Redaction()).apply(reported.message)}" if reported.message else "")
    return Fault(code, detail=detail, http_status=status, retry_after=wait)


@dataclass(frozen=True, slots=True)
class _Reported:
    codes: tuple[str, ...] = ()
    message: str = ""
    status: int | None = None
    estimated_time: float | None = None


def _code(status: int, reported: _Reported) -> FaultCode:
    named = next((_BY_BODY_CODE[name] for name in reported.codes if name in _BY_BODY_CODE), None)
    worded = next(
        (code for codes, words, code in _BY_WORDS if status in codes and words.search(reported.message)), None
    )
    return named or worded or _BY_STATUS.get(status) or _BY_HUNDRED.get(status // 100, FaultCode.PROVIDER_ERROR)


def _read_error(body: JsonValue) -> _Reported:
    """Reads OpenAI's `error` object, or the `error`, `detail` or `message` text that other servers send."""
    if isinstance(body, str):
        # An HTML page comes from a gateway and says nothing about the call.
        return _Reported(message="" if body.lstrip().startswith("<") else body)
    if not isinstance(body, dict):
        return _Reported()
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    codes = tuple(str(inner[key]).lower() for key in ("code", "type") if isinstance(inner.get(key), str))
    texts = (inner.get("message"), error, body.get("detail"))
    code, estimate = inner.get("code"), body.get("estimated_time")
    named = next((_STATUS_OF_NAME[name] for name in codes if name in _STATUS_OF_NAME), None)
    return _Reported(
        codes=codes,
        message=next((text for text in texts if isinstance(text, str)), ""),
        status=code if isinstance(code, int) and 400 <= code < 600 else named,  # noqa: PLR2004 - HTTP's own classes
        estimated_time=min(float(estimate), 60.0) if isinstance(estimate, int | float) and estimate > 0 else None,
    )
