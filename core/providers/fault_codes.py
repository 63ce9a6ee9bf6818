"""Every fault of a provider, as a closed table: its class, whether it was probably billed, what it is, what to do.

core/providers/faults.py reads it; docs/reference/errors.md and the `error` of a job are generated from CODES. A code
never changes its meaning, because clients and dashboards match on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from core.domain.transitions import Billed


class FaultClass(StrEnum):
    """The kind of a fault; core/providers/faults.py says how each kind is retried."""

    UNREACHABLE = "unreachable"
    UNAVAILABLE = "unavailable"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    BAD_ANSWER = "bad_answer"
    UNEXPECTED = "unexpected"
    THROTTLED = "throttled"
    LOADING = "loading"
    AUTH = "auth"
    QUOTA = "quota"
    REFUSED = "refused"
    INVALID = "invalid"
    MISCONFIGURED = "misconfigured"


class FaultCode(StrEnum):
    PROVIDER_UNREACHABLE = "provider_unreachable"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROVIDER_OVERLOADED = "provider_overloaded"
    PROVIDER_ERROR = "provider_error"
    PROVIDER_CONFLICT = "provider_conflict"
    PROVIDER_TIMEOUT = "provider_timeout"
    ATTEMPT_TIMEOUT = "attempt_timeout"
    CONNECTION_LOST = "connection_lost"
    STREAM_CUT = "stream_cut"
    ANSWER_NOT_JSON = "answer_not_json"
    ANSWER_EMPTY = "answer_empty"
    ANSWER_MALFORMED = "answer_malformed"
    ANSWER_IS_ERROR = "answer_is_error"
    ANSWER_TOO_LARGE = "answer_too_large"
    ADAPTER_ERROR = "adapter_error"
    RATE_LIMITED = "rate_limited"
    CONNECTIONS_BUSY = "provider_connections_busy"
    NOT_SENT = "call_not_sent"
    MODEL_LOADING = "model_loading"
    AUTH_FAILED = "provider_auth_failed"
    PERMISSION_DENIED = "provider_permission_denied"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    PAYMENT_REQUIRED = "payment_required"
    CONTENT_FILTERED = "content_filtered"
    INVALID_REQUEST = "provider_invalid_request"
    MODEL_NOT_FOUND = "provider_model_not_found"
    CONTEXT_LENGTH = "context_length_exceeded"
    REQUEST_TOO_LARGE = "provider_request_too_large"
    RETRY_REFUSED = "provider_refused_retry"
    ENDPOINT_NOT_FOUND = "provider_endpoint_not_found"
    REDIRECTED = "provider_redirected"
    CERTIFICATE_INVALID = "provider_certificate_invalid"
    URL_INVALID = "provider_url_invalid"


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """`billed` applies unless the provider's response says more; `sentence` and `next_step` are whole sentences."""

    fault_class: FaultClass
    billed: Billed
    sentence: str
    next_step: str


_F = FaultCode
_K = FaultClass
_AGAIN: Final = "Nothing to do while attempts are left. Once the job has failed, retry it."
_WAITS: Final = "Nothing to do: the job waits, and waiting costs no attempt."
_KEY: Final = "Check the provider's API key in inferd's settings, then retry the job."
_BASE_URL: Final = "Check the provider's `base_url` in inferd's settings, then retry the job."
_BILL: Final = "Raise the limit or add credit at the provider, then retry the job."

CODES: Final[Mapping[str, CodeInfo]] = MappingProxyType(
    {
        _F.PROVIDER_UNREACHABLE: CodeInfo(
            _K.UNREACHABLE,
            "no",
            "inferd could not connect to the provider: DNS, TCP or TLS failed before the call was sent.",
            _WAITS,
        ),
        _F.PROVIDER_UNAVAILABLE: CodeInfo(_K.UNAVAILABLE, "no", "The provider is temporarily unavailable.", _WAITS),
        _F.PROVIDER_OVERLOADED: CodeInfo(_K.UNAVAILABLE, "no", "The provider is overloaded.", _WAITS),
        _F.PROVIDER_ERROR: CodeInfo(_K.SERVER_ERROR, "maybe", "The provider failed with an internal error.", _AGAIN),
        _F.PROVIDER_CONFLICT: CodeInfo(
            _K.SERVER_ERROR, "no", "The provider could not accept the call and asked for it to be sent again.", _AGAIN
        ),
        _F.PROVIDER_TIMEOUT: CodeInfo(
            _K.TIMEOUT, "maybe", "The provider, or a gateway in front of it, did not respond in time.", _AGAIN
        ),
        _F.ATTEMPT_TIMEOUT: CodeInfo(
            _K.TIMEOUT,
            "maybe",
            "The attempt reached the job's `timeout_seconds` before the provider responded.",
            "Submit it with a longer `timeout_seconds`, or ask for fewer tokens.",
        ),
        _F.CONNECTION_LOST: CodeInfo(
            _K.INTERRUPTED,
            "maybe",
            "The connection broke after the call was sent; the provider may have finished it.",
            _AGAIN,
        ),
        _F.STREAM_CUT: CodeInfo(
            _K.INTERRUPTED, "maybe", "The provider's stream ended before the answer was complete.", _AGAIN
        ),
        _F.ANSWER_NOT_JSON: CodeInfo(
            _K.BAD_ANSWER,
            "maybe",
            "The provider's response is not JSON; it may be an HTML page.",
            _BASE_URL,
        ),
        _F.ANSWER_EMPTY: CodeInfo(_K.BAD_ANSWER, "maybe", "The provider's response has no message.", _AGAIN),
        _F.ANSWER_MALFORMED: CodeInfo(
            _K.BAD_ANSWER, "maybe", "The provider's response is not a chat completion.", _BASE_URL
        ),
        _F.ANSWER_IS_ERROR: CodeInfo(
            _K.BAD_ANSWER, "maybe", "The provider returned 200 with an error in the body.", _AGAIN
        ),
        _F.ANSWER_TOO_LARGE: CodeInfo(
            _K.INVALID,
            "maybe",
            "The provider's response is larger than `max_answer_bytes`.",
            "Ask for a shorter answer, or raise the provider's `max_answer_bytes` in inferd's settings.",
        ),
        _F.ADAPTER_ERROR: CodeInfo(
            _K.UNEXPECTED, "maybe", "inferd's adapter hit an unexpected error.", "Report it with the job's id."
        ),
        _F.RATE_LIMITED: CodeInfo(
            _K.THROTTLED,
            "no",
            "The provider's rate limit was reached.",
            _WAITS,
        ),
        _F.CONNECTIONS_BUSY: CodeInfo(
            _K.THROTTLED,
            "no",
            "All connections that inferd may open to the provider are in use.",
            "Nothing to do: the job waits, and waiting costs no attempt. If it lasts, raise the provider's "
            "`concurrency`.",
        ),
        _F.NOT_SENT: CodeInfo(
            _K.THROTTLED,
            "no",
            "The worker stalled before the call was sent, and another worker may have taken the job over.",
            _WAITS,
        ),
        _F.MODEL_LOADING: CodeInfo(
            _K.LOADING,
            "no",
            "The provider is still loading the model.",
            _WAITS,
        ),
        _F.AUTH_FAILED: CodeInfo(_K.AUTH, "no", "The provider rejected the API key.", _KEY),
        _F.PERMISSION_DENIED: CodeInfo(
            _K.AUTH, "no", "The API key may not use this model, or not from this region.", _KEY
        ),
        _F.INSUFFICIENT_QUOTA: CodeInfo(
            _K.QUOTA, "no", "The quota or spending limit of the provider account is used up.", _BILL
        ),
        _F.PAYMENT_REQUIRED: CodeInfo(_K.QUOTA, "no", "The provider account has no credit left.", _BILL),
        _F.CONTENT_FILTERED: CodeInfo(
            _K.REFUSED,
            "maybe",
            "The provider's content policy blocked the call.",
            "Change the messages, then submit a new job.",
        ),
        _F.INVALID_REQUEST: CodeInfo(
            _K.INVALID,
            "no",
            "The provider rejected the request as invalid.",
            "Change the messages or params, then submit a new job.",
        ),
        _F.MODEL_NOT_FOUND: CodeInfo(
            _K.INVALID,
            "no",
            "The provider has no such model, or this API key may not use it.",
            "Submit a new job with a model that the provider serves.",
        ),
        _F.CONTEXT_LENGTH: CodeInfo(
            _K.INVALID,
            "no",
            "The messages and the requested answer exceed the model's context window.",
            "Shorten the messages, lower `max_tokens`, or choose a model with a larger context window.",
        ),
        _F.REQUEST_TOO_LARGE: CodeInfo(
            _K.INVALID, "no", "The request is larger than the provider accepts.", "Shorten it, then submit a new job."
        ),
        _F.RETRY_REFUSED: CodeInfo(
            _K.INVALID,
            "maybe",
            "The provider failed and said that a retry would not help.",
            "Read the message for the cause; retry the job when it is fixed.",
        ),
        _F.ENDPOINT_NOT_FOUND: CodeInfo(
            _K.MISCONFIGURED, "no", "The provider's `base_url` has no chat completions API.", _BASE_URL
        ),
        _F.REDIRECTED: CodeInfo(
            _K.MISCONFIGURED,
            "no",
            "The provider sent a redirect. inferd does not follow it, because that would send the API key elsewhere.",
            _BASE_URL,
        ),
        _F.CERTIFICATE_INVALID: CodeInfo(
            _K.MISCONFIGURED,
            "no",
            "The provider's TLS certificate is not trusted.",
            "Add its certificate authority to the system's trust store or to SSL_CERT_FILE, then retry the job.",
        ),
        _F.URL_INVALID: CodeInfo(_K.MISCONFIGURED, "no", "The provider's `base_url` is not a valid URL.", _BASE_URL),
    }
)
