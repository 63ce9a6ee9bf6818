"""Every error a caller can meet, as one tree. api/http/errors.py renders it; docs/reference/errors.md is made from it.

    AppError
    ├── InvalidRequest        400  the request can't be read, or a value is out of bounds
    │   └── InvalidParameter  422  it can be read, but a field is wrong
    ├── Unauthenticated       401
    ├── NotFound              404
    ├── MethodNotAllowed      405
    ├── RequestTimeout        408
    ├── Conflict              409
    ├── Gone                  410
    ├── PayloadTooLarge       413
    ├── FailedDependency      424
    ├── TooManyRequests       429
    ├── Internal              500
    │   └── JobUnreadable
    └── Unavailable           503

Each instance has a stable `code` (see CODES), a `message` safe to show, which says what to do next,
and the `param` it is about, where there is one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final


class AppError(Exception):
    """The root. `status` is HTTP's, `kind` is the `type` of OpenAI's error object."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(AppError):
    status = 400
    kind = "invalid_request_error"
    default_code = "invalid_request"


class InvalidParameter(InvalidRequest):
    status = 422
    default_code = "invalid_parameter"


class Unauthenticated(AppError):
    status = 401
    kind = "authentication_error"
    default_code = "invalid_api_key"


class NotFound(AppError):
    status = 404
    kind = "not_found_error"
    default_code = "not_found"


class MethodNotAllowed(AppError):
    status = 405
    kind = "invalid_request_error"
    default_code = "method_not_allowed"


class RequestTimeout(AppError):
    """The client was too slow with its request."""

    status = 408
    kind = "invalid_request_error"
    default_code = "request_timeout"
    retryable = True


class Conflict(AppError):
    status = 409
    kind = "invalid_request_error"
    default_code = "conflict"


class Gone(AppError):
    status = 410
    kind = "not_found_error"
    default_code = "gone"


class PayloadTooLarge(AppError):
    status = 413
    kind = "invalid_request_error"
    default_code = "payload_too_large"


class FailedDependency(AppError):
    """What the caller asked us to call did not answer."""

    status = 424
    kind = "invalid_request_error"
    default_code = "webhook_unanswered"


class TooManyRequests(AppError):
    status = 429
    kind = "rate_limit_error"
    default_code = "queue_full"
    retryable = True


class Internal(AppError):
    """A bug of ours: reported, never explained to the caller beyond its request id."""


class JobUnreadable(Internal):
    """A stored job can't be opened: another master key, or damage. Its neighbours can."""

    default_code = "job_unreadable"


class Unavailable(AppError):
    status = 503
    default_code = "unavailable"
    retryable = True


CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "invalid_request": "The request can't be read: not JSON, not UTF-8, or a value outside its bounds.",
        "invalid_json": "The body is not strict JSON: NaN, a NUL byte, a lone surrogate, or nested too deep.",
        "invalid_parameter": "A field is missing, unknown or of the wrong kind; `param` names it.",
        "idempotency_key_reused": "The Idempotency-Key was used before with another body.",
        "idempotency_key_not_supported": "The operation creates nothing, so it does not take an Idempotency-Key.",
        "image_url_not_supported": "An image is given by a URL that is not `data:`; nothing is fetched for a job.",
        "invalid_webhook_url": "The webhook's URL can't be called: not https, no host, or not a public address.",
        "model_not_found": "No provider is configured for this model; the message names the nearest ones.",
        "invalid_api_key": "No API key, or one that is malformed, unknown, revoked or expired.",
        "not_found": "No such resource for this caller.",
        "method_not_allowed": "The path exists, but not for this method.",
        "request_timeout": "The request did not arrive in time: INFERD_API_HEADER_SECONDS, INFERD_API_BODY_SECONDS.",
        "conflict": "The resource is not in a state that allows this.",
        "gone": "The job existed and was deleted.",
        "payload_too_large": "The body is larger than INFERD_API_MAX_BODY_BYTES.",
        "webhook_unanswered": "The webhook endpoint did not respond to the test; the message says why.",
        "too_many_requests": "Too many requests of this tenant are open; try again after Retry-After seconds.",
        "too_many_waits": "Too many long polls and event streams of this tenant are open; poll, or use a webhook.",
        "queue_full": "Too much is waiting; try again after Retry-After seconds.",
        "job_unreadable": "The job was stored with another master key, or is damaged; tell the operator.",
        "internal_error": "A bug of inferd; give the x-request-id when you report it.",
        "unavailable": "PostgreSQL can't be reached, or the server is shutting down; try again.",
    }
)


def _statuses() -> Mapping[str, int]:
    found = {
        "invalid_json": 400,
        "idempotency_key_not_supported": 400,
        "idempotency_key_reused": 422,
        "image_url_not_supported": 422,
        "invalid_webhook_url": 422,
        "model_not_found": 422,
        "too_many_requests": 429,
        "too_many_waits": 429,
    }
    waiting = [AppError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found[kind.default_code] = kind.status
    return MappingProxyType(found)


STATUSES: Final = _statuses()
"""The HTTP status of each code."""

# Why a job of inferd's own making failed, and what its caller can do. A provider's codes are in core/providers.
JOB_NEXT_STEPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cancelled": "Nothing to do. To run it after all, retry the job.",
        "deadline_exceeded": "Submit it with a longer deadline_seconds, or with a higher priority.",
        "worker_lost": "See the worker's logs for why it died (often memory). Fix that, then retry the job.",
        "worker_stopped": "Nothing to do: another worker runs the job.",
        "provider_paused": "Nothing to do: the job waits and keeps its attempts.",
        "worker_misconfigured": "Nothing to do if other workers can run it; the log of the worker says what it lacks.",
        "waited_too_long": "Read the last reason in the message; when it is gone, retry the job.",
        "request_unusable": "Fix the problem named, then submit a new job.",
        "answer_not_storable": "Ask for a shorter answer, or report it with the job's id.",
    }
)
