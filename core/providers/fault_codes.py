"""Every fault a provider can cause, as a closed table: its class, who probably paid, what it is, what to do.

Read by core/providers/faults.py; docs/reference and the `error` of a job are made from CODES. A code never changes its
meaning: clients and dashboards match on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from core.domain.transitions import Billed


class FaultClass(StrEnum):
    """What kind of trouble it is; core/providers/faults.py says what each kind asks for."""

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
    """`billed` is what a code means for the bill when nothing better is known; both texts are whole sentences."""

    fault_class: FaultClass
    billed: Billed
    sentence: str
    next_step: str


_F = FaultCode
_K = FaultClass
_AGAIN: Final = "Nothing to do while attempts are left; later, retry the job."
_WAITS: Final = "Nothing to do: the job waits and keeps its attempts."
_KEY: Final = "Check the provider's key in the settings of inferd, then retry the job."
_BASE_URL: Final = "Check the provider's base_url in the settings of inferd, then retry the job."
_BILL: Final = "Raise the limit or add credit at the provider, then retry the job."

CODES: Final[Mapping[str, CodeInfo]] = MappingProxyType(
    {
        _F.PROVIDER_UNREACHABLE: CodeInfo(
            _K.UNREACHABLE,
            "no",
            "No connection to the provider: DNS, TCP or TLS failed before the call went out.",
            _WAITS,
        ),
        _F.PROVIDER_UNAVAILABLE: CodeInfo(
            _K.UNAVAILABLE, "no", "The provider is out of service at the moment.", _WAITS
        ),
        _F.PROVIDER_OVERLOADED: CodeInfo(_K.UNAVAILABLE, "no", "The provider has more work than it can take.", _WAITS),
        _F.PROVIDER_ERROR: CodeInfo(
            _K.SERVER_ERROR, "maybe", "The provider failed while it worked on the call.", _AGAIN
        ),
        _F.PROVIDER_CONFLICT: CodeInfo(
            _K.SERVER_ERROR, "no", "The provider could not take the call just now and asks to send it again.", _AGAIN
        ),
        _F.PROVIDER_TIMEOUT: CodeInfo(
            _K.TIMEOUT, "maybe", "The provider, or a gateway before it, gave no answer in time.", _AGAIN
        ),
        _F.ATTEMPT_TIMEOUT: CodeInfo(
            _K.TIMEOUT,
            "maybe",
            "The attempt ran for as long as the job allows, and no answer was there.",
            "Give the job a longer timeout, or ask for fewer tokens.",
        ),
        _F.CONNECTION_LOST: CodeInfo(
            _K.INTERRUPTED,
            "maybe",
            "The connection broke after the call went out; the provider may have finished.",
            _AGAIN,
        ),
        _F.STREAM_CUT: CodeInfo(_K.INTERRUPTED, "maybe", "The provider's stream ended before the answer did.", _AGAIN),
        _F.ANSWER_NOT_JSON: CodeInfo(
            _K.BAD_ANSWER,
            "maybe",
            "The provider answered with something that is not JSON, such as an HTML page.",
            _BASE_URL,
        ),
        _F.ANSWER_EMPTY: CodeInfo(_K.BAD_ANSWER, "maybe", "The provider's answer holds no message.", _AGAIN),
        _F.ANSWER_MALFORMED: CodeInfo(
            _K.BAD_ANSWER, "maybe", "The provider's answer does not have the shape of a chat completion.", _BASE_URL
        ),
        _F.ANSWER_IS_ERROR: CodeInfo(
            _K.BAD_ANSWER, "maybe", "The provider said 200 and put an error of its own kind inside.", _AGAIN
        ),
        _F.ANSWER_TOO_LARGE: CodeInfo(
            _K.INVALID,
            "maybe",
            "The provider's answer has more bytes than inferd reads.",
            "Ask for a shorter answer, or raise the provider's `max_answer_bytes` in the settings of inferd.",
        ),
        _F.ADAPTER_ERROR: CodeInfo(
            _K.UNEXPECTED, "maybe", "The adapter met something that it does not know.", "Report it with the job's id."
        ),
        _F.RATE_LIMITED: CodeInfo(
            _K.THROTTLED,
            "no",
            "The provider's rate limit is reached.",
            _WAITS,
        ),
        _F.CONNECTIONS_BUSY: CodeInfo(
            _K.THROTTLED,
            "no",
            "All connections that inferd may open to the provider are in use.",
            "Nothing to do: the job waits and keeps its attempts. Raise the provider's `concurrency` if it lasts.",
        ),
        _F.NOT_SENT: CodeInfo(
            _K.THROTTLED,
            "no",
            "The worker stood still before the call was sent, and the job may belong to another one by now.",
            _WAITS,
        ),
        _F.MODEL_LOADING: CodeInfo(
            _K.LOADING,
            "no",
            "The provider is still loading the model.",
            _WAITS,
        ),
        _F.AUTH_FAILED: CodeInfo(_K.AUTH, "no", "The provider does not accept the key.", _KEY),
        _F.PERMISSION_DENIED: CodeInfo(_K.AUTH, "no", "The key may not use this model, or not from this region.", _KEY),
        _F.INSUFFICIENT_QUOTA: CodeInfo(_K.QUOTA, "no", "The account's quota or spend limit is used up.", _BILL),
        _F.PAYMENT_REQUIRED: CodeInfo(_K.QUOTA, "no", "The account at the provider has no credit left.", _BILL),
        _F.CONTENT_FILTERED: CodeInfo(
            _K.REFUSED,
            "maybe",
            "The provider's content policy stopped the call.",
            "Change the messages and submit a new job.",
        ),
        _F.INVALID_REQUEST: CodeInfo(
            _K.INVALID,
            "no",
            "The provider rejected the request as invalid.",
            "Change the messages or params and submit a new job.",
        ),
        _F.MODEL_NOT_FOUND: CodeInfo(
            _K.INVALID,
            "no",
            "The provider has no such model, or not for this key.",
            "Choose a model that the provider serves.",
        ),
        _F.CONTEXT_LENGTH: CodeInfo(
            _K.INVALID,
            "no",
            "The messages and the answer do not fit into the model's context.",
            "Shorten the messages, lower max_tokens, or choose a model with a longer context.",
        ),
        _F.REQUEST_TOO_LARGE: CodeInfo(
            _K.INVALID, "no", "The request has more bytes than the provider takes.", "Shorten it and submit a new job."
        ),
        _F.RETRY_REFUSED: CodeInfo(
            _K.INVALID,
            "maybe",
            "The provider failed and says that trying again is no use.",
            "Read the message; then retry the job.",
        ),
        _F.ENDPOINT_NOT_FOUND: CodeInfo(
            _K.MISCONFIGURED, "no", "There is no chat completions API at the provider's address.", _BASE_URL
        ),
        _F.REDIRECTED: CodeInfo(
            _K.MISCONFIGURED, "no", "The provider sent a redirect, which is never followed with a key.", _BASE_URL
        ),
        _F.CERTIFICATE_INVALID: CodeInfo(
            _K.MISCONFIGURED,
            "no",
            "The provider's TLS certificate is not trusted.",
            "Add its CA to the system's trust store or to SSL_CERT_FILE, then retry the job.",
        ),
        _F.URL_INVALID: CodeInfo(
            _K.MISCONFIGURED, "no", "The provider's address is not a URL that can be called.", _BASE_URL
        ),
    }
)
