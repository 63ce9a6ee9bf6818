"""Every error that a caller can get, as one tree. api/http/errors.py renders it.

    AppError
    ├── InvalidRequest        400  the request can't be parsed, or a value is out of bounds
    │   └── InvalidParameter  422  it can be parsed, but a field is wrong
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

Each instance has a stable `code` (see CODES), a `message` that is safe to show and says what to do next, and the
`param` that it is about, if there is one. docs/reference/errors.md is generated from these tables.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final


class AppError(Exception):
    """The root. `status` is for HTTP, `kind` is the `type` of OpenAI's error object; `retry_after` is in seconds."""

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
    """The client took too long to send its request."""

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
    """A server that the caller asked us to call did not respond."""

    status = 424
    kind = "invalid_request_error"
    default_code = "webhook_unanswered"


class TooManyRequests(AppError):
    status = 429
    kind = "rate_limit_error"
    default_code = "queue_full"
    retryable = True


class Internal(AppError):
    """A bug of inferd: it is reported, and the caller gets no detail but the request id."""


class JobUnreadable(Internal):
    """A stored job can't be decrypted or parsed; other jobs in the same read are unaffected."""

    default_code = "job_unreadable"


class Unavailable(AppError):
    status = 503
    default_code = "unavailable"
    retryable = True


CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "invalid_request": "A header or the query string is malformed, or the connection ended before the request was "
        "complete.",
        "invalid_json": "The body is not one strict JSON object: it is empty, is not JSON or UTF-8, names a member "
        "twice, has NaN, a NUL byte or a lone surrogate, or has too many values or too much nesting.",
        "invalid_parameter": "A field is missing, unknown or has a wrong value; `param` names it.",
        "idempotency_key_reused": "The Idempotency-Key was already used with a different body; use a new key.",
        "idempotency_key_not_supported": "The operation creates nothing, so it does not take an Idempotency-Key.",
        "image_url_not_supported": "An image has a URL that is not a `data:` URL; inferd fetches nothing for a job. "
        "Send the image as `data:`.",
        "invalid_webhook_url": "The webhook URL is not allowed: it is not https, has no host, or is not a public "
        "address.",
        "model_not_found": "No configured provider has this model; the message lists the nearest ones.",
        "invalid_api_key": "The API key is missing, malformed, unknown, revoked or expired.",
        "not_found": "The resource does not exist, or belongs to another tenant.",
        "method_not_allowed": "The path does not support this method; `Allow` lists those that it does.",
        "request_timeout": "The request did not arrive within INFERD_API_HEADER_SECONDS or INFERD_API_BODY_SECONDS.",
        "conflict": "The resource's current state does not allow this; the message says why.",
        "gone": "The resource was deleted, or what this Idempotency-Key created was.",
        "payload_too_large": "The body is larger than INFERD_API_MAX_BODY_BYTES, or INFERD_API_MAX_BULK_BYTES for a "
        "bulk submit.",
        "webhook_unanswered": "The receiver did not respond to the test event, or no worker has sent it yet; the "
        "message says which.",
        "too_many_requests": "This tenant has too many open requests; try again after `Retry-After` seconds.",
        "too_many_waits": "This tenant has too many open long polls and event streams; poll without `wait`, or use a "
        "webhook.",
        "queue_full": "Too many requests are waiting for the database; try again after `Retry-After` seconds.",
        "job_unreadable": "The stored job can't be decrypted or is damaged; contact the operator, who may have "
        "changed INFERD_MASTER_KEY.",
        "internal_error": "A bug in inferd; report it with the `x-request-id` of the response.",
        "unavailable": "PostgreSQL can't be reached, or the server is shutting down; try again after `Retry-After` "
        "seconds.",
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

# What the caller can do about each failure that inferd causes itself. The codes of providers are in core/providers.
JOB_NEXT_STEPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cancelled": "Nothing to do. To run the job anyway, retry it.",
        "deadline_exceeded": "Submit it with a longer `deadline_seconds` or a higher `priority`.",
        "worker_lost": "Find out from the worker's logs why it died (often out of memory). Fix that, then retry the "
        "job.",
        "worker_stopped": "Nothing to do: the worker was stopped, and another one runs the job.",
        "provider_paused": "Nothing to do: the job waits, and waiting costs no attempt.",
        "worker_misconfigured": "Nothing to do if other workers can run the job. The worker's log says which "
        "provider or key it lacks.",
        "waited_too_long": "Fix the last reason in the message, then retry the job.",
        "request_unusable": "Fix the problem that the message names, then submit a new job.",
        "answer_not_storable": "Ask for a shorter answer. If that does not help, report it with the job's id.",
    }
)
