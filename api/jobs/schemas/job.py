"""What an answer says of a job: the whole of it, or its line in a list."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from pydantic import JsonValue
from typing_extensions import TypedDict

from core.domain.ids import DELIVERY, show, show_job
from core.jobs.explain import next_step
from core.jobs.records import AttemptRecord, JobRecord, JobSummary


class UsageView(TypedDict):
    input_tokens: int | None
    output_tokens: int | None


class ErrorView(TypedDict):
    code: str
    message: str
    next_step: str


# `class` is what the field calls it; only this form of a TypedDict can say so.
AttemptErrorView = TypedDict("AttemptErrorView", {"class": str, "code": str, "message": str})


class AttemptView(TypedDict):
    attempt: int
    run: int
    provider: str
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    error: AttemptErrorView | None
    http_status: int | None
    retry_after_seconds: float | None
    wait_seconds: float | None
    billed: str
    usage: dict[str, JsonValue] | None
    provider_request_id: str | None


class DeliveryView(TypedDict):
    id: str
    event: str
    status: str
    attempts: int
    http_status: int | None
    error: str | None
    delivered_at: datetime | None
    next_attempt_at: datetime | None


class WebhookView(TypedDict):
    url: str | None
    events: list[str]
    deliveries: list[DeliveryView]


class OutputView(TypedDict):
    text: str
    message: dict[str, JsonValue]
    finish_reason: str
    model: str


class RetryView(TypedDict):
    max_attempts: int
    initial_seconds: float | None
    max_seconds: float | None


class UrlsView(TypedDict):
    self: str
    cancel: str
    retry: str


class JobSummaryView(TypedDict):
    """A job's line in a list."""

    id: str
    object: str
    status: str
    model: str
    metadata: Mapping[str, JsonValue]
    priority: str
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    queue_ms: int | None
    max_attempts: int
    attempts_used: int
    usage: UsageView | None
    error: ErrorView | None
    urls: UrlsView


class JobView(JobSummaryView):
    """A whole job. Times are RFC 3339 in UTC; `run_ms` is the time spent in attempts that have ended."""

    input: JsonValue
    params: JsonValue
    run_ms: int | None
    timeout_seconds: float
    retry: RetryView
    attempts: list[AttemptView]
    output: OutputView | None
    webhook: WebhookView | None


class JobListView(TypedDict):
    """A page of jobs, newest first; `next_cursor` is the `after` of the next page."""

    object: str
    data: list[JobSummaryView]
    has_more: bool
    next_cursor: str | None


def summary_view(job: JobRecord | JobSummary, base_url: str) -> JobSummaryView:
    """`base_url` is what the urls start with."""
    name = show_job(job.id)
    url = f"{base_url}/v1/jobs/{name}"
    return {
        "id": name,
        "object": "job",
        "status": job.state.value,
        "model": job.model,
        "metadata": job.metadata,
        "priority": job.priority.value,
        "created_at": job.created_at,
        "run_at": job.run_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "deadline_at": job.deadline_at,
        "queue_ms": job.queue_ms,
        "max_attempts": job.max_attempts,
        "attempts_used": job.attempts_used,
        "usage": _usage(job),
        "error": _error(job),
        "urls": {"self": url, "cancel": f"{url}/cancel", "retry": f"{url}/retry"},
    }


def job_view(job: JobRecord, base_url: str) -> JobView:
    """As `summary_view`, with everything."""
    return {
        **summary_view(job, base_url),
        "input": job.request["messages"],
        "params": job.request["params"],
        "run_ms": _run_ms(job),
        "timeout_seconds": job.timeout_seconds,
        "retry": {
            "max_attempts": job.max_attempts,
            "initial_seconds": job.retry_initial_seconds,
            "max_seconds": job.retry_max_seconds,
        },
        "attempts": [_attempt(attempt) for attempt in job.attempts],
        "output": cast(OutputView | None, job.output),
        "webhook": _webhook(job),
    }


def etag(job: JobRecord) -> str:
    """Changes whenever what `job_view` says does."""
    deliveries = "".join(f".{delivery.attempts}{delivery.state[:1]}" for delivery in job.deliveries)
    return f'W/"{job.version}{deliveries}"'


def _usage(job: JobRecord | JobSummary) -> UsageView | None:
    if job.input_tokens is None and job.output_tokens is None:
        return None
    return {"input_tokens": job.input_tokens, "output_tokens": job.output_tokens}


def _error(job: JobRecord | JobSummary) -> ErrorView | None:
    if job.error_code is None:
        return None
    return {"code": job.error_code, "message": job.error_message or "", "next_step": next_step(job.error_code)}


def _run_ms(job: JobRecord) -> int | None:
    spent = [attempt.finished_at - attempt.started_at for attempt in job.attempts if attempt.finished_at is not None]
    return round(sum(each.total_seconds() for each in spent) * 1000) if spent else None


def _attempt(attempt: AttemptRecord) -> AttemptView:
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


def _webhook(job: JobRecord) -> WebhookView | None:
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
