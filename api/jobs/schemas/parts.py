"""The parts of a job object: output, error, usage, attempts, webhook. Used by api/jobs/schemas/job.py."""

from datetime import datetime
from typing import Annotated, get_args

from pydantic import JsonValue
from typing_extensions import TypedDict

from api.http.fields import HEX, TIME, described
from core.domain.errors import JOB_NEXT_STEPS
from core.domain.ids import DELIVERY, show
from core.domain.transitions import AttemptOutcome, Billed
from core.jobs.explain import next_step
from core.jobs.records import AttemptRecord, JobRecord, JobSummary
from core.providers.fault_codes import CODES, FaultClass

_URL = f"/v1/jobs/job_{HEX}"
_ERROR_CODES = [*JOB_NEXT_STEPS, *map(str, CODES)]


class UsageView(TypedDict):
    """Tokens; null where the provider did not say."""

    input_tokens: Annotated[int | None, described("Tokens of the input.", 12)]
    output_tokens: Annotated[int | None, described("Tokens of the output.", 48)]


class ErrorView(TypedDict):
    """Why a job has no output."""

    code: Annotated[
        str,
        described(
            "The reason, for programs; docs/reference/errors.md lists them.", "provider_error", values=_ERROR_CODES
        ),
    ]
    message: Annotated[str, described("The reason, for people.", "The provider returned 500.")]
    next_step: Annotated[str, described("What to do about it.", "Retry the job.")]


# `class` is a word of Python's, so only this form of a TypedDict can have it.
AttemptErrorView = TypedDict(
    "AttemptErrorView",
    {
        "class": Annotated[
            str,
            described(
                "The kind of fault, which decides whether the job is tried again.", "server_error", values=FaultClass
            ),
        ],
        "code": Annotated[str, described("The fault, for programs.", "provider_error", values=_ERROR_CODES)],
        "message": Annotated[str, described("The fault, for people.", "The provider returned 500.")],
    },
)


class AttemptView(TypedDict):
    """One run of the job at a provider."""

    attempt: Annotated[int, described("Which of the job's attempts it used; a refunded one is used again.", 1)]
    run: Annotated[int, described("Counts every run, refunded ones too.", 1)]
    provider: Annotated[str, described("The provider that was called.", "local")]
    outcome: Annotated[str, described("How the run ended.", "succeeded", values=AttemptOutcome)]
    started_at: Annotated[datetime, described("When a worker took the job for this run.", TIME)]
    finished_at: Annotated[datetime | None, described("When the run ended; null while it runs.", TIME)]
    error: Annotated[AttemptErrorView | None, described("Why the run did not succeed.")]
    http_status: Annotated[
        int | None, described("The HTTP status of the provider's response, where there was one.", 500)
    ]
    retry_after_seconds: Annotated[float | None, described("The wait that the provider asked for.", 2.0)]
    wait_seconds: Annotated[float | None, described("The wait before the next run.", 1.4)]
    billed: Annotated[
        str, described("Whether the provider probably charged for the call.", "yes", values=get_args(Billed))
    ]
    usage: Annotated[
        dict[str, JsonValue] | None, described("Tokens, as the provider counted them.", {"input_tokens": 12})
    ]
    provider_request_id: Annotated[
        str | None, described("The provider's own id of the call, for its support.", "req_abc123")
    ]


class JobDeliveryView(TypedDict):
    """One webhook about the job."""

    id: Annotated[str, described("The delivery's id.", f"dlv_{HEX}")]
    event: Annotated[str, described("The type of the event.", "job.succeeded")]
    status: Annotated[
        str,
        described("The state of the delivery.", "delivered", values=("pending", "delivered", "exhausted", "skipped")),
    ]
    attempts: Annotated[int, described("How often it was sent.", 1)]
    http_status: Annotated[int | None, described("The HTTP status of the receiver's last response.", 204)]
    error: Annotated[str | None, described("Why the last attempt failed.", "timeout")]
    delivered_at: Annotated[datetime | None, described("When the receiver accepted it.", TIME)]
    next_attempt_at: Annotated[datetime | None, described("When it is sent next; null when it is not.", TIME)]


class JobWebhookView(TypedDict):
    """Who is called back about the job."""

    url: Annotated[
        str | None, described("The job's own webhook; null when only endpoints are called.", "https://example.com/hook")
    ]
    events: Annotated[list[str], described("The events that are sent to `url`.", ["job.succeeded", "job.failed"])]
    deliveries: Annotated[list[JobDeliveryView], described("Every delivery, to `url` and to endpoints, oldest first.")]


class OutputView(TypedDict):
    """The output of the model."""

    text: Annotated[str, described("The text of the assistant's message.", "Hello!")]
    message: Annotated[
        dict[str, JsonValue],
        described("The whole assistant message as the provider sent it.", {"role": "assistant", "content": "Hello!"}),
    ]
    finish_reason: Annotated[
        str,
        described(
            "Why the model stopped, as the provider says.",
            "stop",
            values=("stop", "length", "tool_calls", "content_filter"),
        ),
    ]
    model: Annotated[str, described("The model as the provider names it.", "smollm2-135m")]


class RetryView(TypedDict):
    """How a job is retried."""

    max_attempts: Annotated[int, described("Maximum number of attempts.", 8)]
    initial_seconds: Annotated[
        float | None, described("Seconds to wait after the first attempt; the wait doubles with each further one.", 1.0)
    ]
    max_seconds: Annotated[float | None, described("Maximum number of seconds between two attempts.", 120.0)]


class UrlsView(TypedDict):
    """Absolute where the server knows its public URL, else relative."""

    self: Annotated[str, described("Where the job is read.", _URL)]
    cancel: Annotated[str, described("POST here to cancel it.", f"{_URL}/cancel")]
    retry: Annotated[str, described("POST here to run it again.", f"{_URL}/retry")]


def usage_view(job: JobRecord | JobSummary) -> UsageView | None:
    if job.input_tokens is None and job.output_tokens is None:
        return None
    return {"input_tokens": job.input_tokens, "output_tokens": job.output_tokens}


def error_view(job: JobRecord | JobSummary) -> ErrorView | None:
    if job.error_code is None:
        return None
    return {"code": job.error_code, "message": job.error_message or "", "next_step": next_step(job.error_code)}


def attempt_view(attempt: AttemptRecord) -> AttemptView:
    error: AttemptErrorView | None = None
    if attempt.error_code is not None:
        error = {
            "class": attempt.error_class or "",
            "code": attempt.error_code,
            "message": attempt.error_message or "",
        }
    return {
        "attempt": attempt.attempt,
        "run": attempt.run_no,
        "provider": attempt.provider,
        "outcome": attempt.outcome,
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at,
        "error": error,
        "http_status": attempt.http_status,
        "retry_after_seconds": attempt.retry_after,
        "wait_seconds": attempt.wait_seconds,
        "billed": attempt.billed,
        "usage": attempt.usage,
        "provider_request_id": attempt.provider_request_id,
    }


def webhook_view(job: JobRecord) -> JobWebhookView | None:
    if job.webhook_url is None and not job.deliveries:
        return None
    return {
        "url": job.webhook_url,
        "events": list(job.webhook_events),
        "deliveries": [
            {
                "id": show(DELIVERY, delivery.id),
                "event": delivery.event_type,
                "status": delivery.state,
                "attempts": delivery.attempts,
                "http_status": delivery.status,
                "error": delivery.error,
                "delivered_at": delivery.delivered_at,
                "next_attempt_at": delivery.next_attempt_at,
            }
            for delivery in job.deliveries
        ],
    }
