"""The job object: the whole of it, or its line in a list. Its parts are in api/jobs/schemas/parts.py.

Both are put together from the same groups of fields, in the order in which a reader wants them: what came of it, its
times, then everything else.
"""

import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, cast

from pydantic import JsonValue
from typing_extensions import TypedDict

from api.http.fields import HEX, TIME, described
from api.http.paging import PageView
from api.jobs.schemas.parts import (
    AttemptView,
    ErrorView,
    JobWebhookView,
    OutputView,
    RetryView,
    UrlsView,
    UsageView,
    attempt_view,
    error_view,
    usage_view,
    webhook_view,
)
from core.domain.ids import show_job
from core.domain.job_state import JobState, Priority
from core.jobs.records import JobRecord, JobSummary


class _Head(TypedDict):
    id: Annotated[str, described("The job's id; ids sort by the time of submission.", f"job_{HEX}")]
    status: Annotated[
        str,
        described(
            "The state. `queued` and `running` change by themselves; `succeeded`, `failed`, `cancelled` and `expired` "
            "are final, unless the job is retried.",
            "succeeded",
            values=JobState,
        ),
    ]
    model: Annotated[str, described("The model that was asked for, `provider/name`.", "local/smollm2-135m")]


class _Outcome(TypedDict):
    error: Annotated[
        ErrorView | None, described("Why the job has no output; null unless it failed, expired or was cancelled.")
    ]
    usage: Annotated[UsageView | None, described("Tokens of the attempt that succeeded, as its provider counted them.")]


class _Times(TypedDict):
    created_at: Annotated[datetime, described("When the job was accepted, RFC 3339 in UTC.", TIME)]
    run_at: Annotated[
        datetime,
        described("Not started before this time: the `run_at` of the submit, or when the next attempt is due.", TIME),
    ]
    started_at: Annotated[datetime | None, described("When a worker first took the job.", TIME)]
    finished_at: Annotated[datetime | None, described("When the job reached its final state.", TIME)]
    deadline_at: Annotated[
        datetime | None, described("When the job expires if it is not finished; null without a deadline.", TIME)
    ]
    queue_ms: Annotated[int | None, described("Milliseconds from the time the job was due to its first start.", 12)]


class _Rest(TypedDict):
    object: Annotated[str, described("Always `job`.", "job")]
    metadata: Annotated[
        Mapping[str, JsonValue], described("The pairs that were submitted with the job.", {"order": "4711"})
    ]
    priority: Annotated[str, described("Jobs of a higher priority start first.", "standard", values=Priority)]
    max_attempts: Annotated[int, described("Maximum number of attempts.", 8)]
    attempts_used: Annotated[
        int,
        described(
            "How many it has used. An attempt that the provider throttled, or that a stopping worker gave back, is "
            "refunded.",
            1,
        ),
    ]
    urls: Annotated[UrlsView, described("Where the job is read and changed.")]


class _Output(TypedDict):
    output: Annotated[OutputView | None, described("The output of the model; null unless the job succeeded.")]


class _OutputIfAsked(TypedDict, total=False):
    output: Annotated[
        OutputView | None,
        described(
            "The output of the model; only with `include=output`, and null if it is larger than 1 MiB: read the job."
        ),
    ]


class _Details(TypedDict):
    run_ms: Annotated[int | None, described("Milliseconds spent in attempts that have ended.", 840)]
    input: Annotated[
        JsonValue,
        described(
            "The messages; a prompt is one message with the role `user`.", [{"role": "user", "content": "Say hello."}]
        ),
    ]
    params: Annotated[JsonValue, described("The params that were submitted.", {"temperature": 0.2})]
    timeout_seconds: Annotated[float, described("Maximum duration of one attempt, in seconds.", 600.0)]
    retry: Annotated[RetryView, described("How the job is retried.")]
    attempts: Annotated[list[AttemptView], described("Every attempt, the first one first.")]
    webhook: Annotated[JobWebhookView | None, described("Who is called back, and how that went; null when nobody is.")]


class JobSummaryView(_Head, _OutputIfAsked, _Outcome, _Times, _Rest):
    """A job's line in a list."""


class JobView(_Head, _Output, _Outcome, _Times, _Details, _Rest):
    """A job: what came of it, when, what was asked for and how it went."""


class JobListView(PageView):
    """A page of jobs, newest first."""

    data: Annotated[list[JobSummaryView], described("The jobs of this page.")]


def summary_view(job: JobRecord | JobSummary, base_url: str) -> JobSummaryView:
    """`base_url` is what the urls start with."""
    return _summary({**_head(job), **_outcome(job), **_times(job), **_rest(job, base_url)})


def summary_with_output(job: JobSummary, output: Mapping[str, JsonValue] | None, base_url: str) -> JobSummaryView:
    """As `summary_view`, for `include=output`."""
    return _summary({**_head(job), "output": output, **_outcome(job), **_times(job), **_rest(job, base_url)})


def _summary(fields: Mapping[str, object]) -> JobSummaryView:
    # mypy can't see that `output` may be missing.
    return cast(JobSummaryView, fields)


def job_view(job: JobRecord, base_url: str) -> JobView:
    """As `summary_view`, with everything."""
    return {
        **_head(job),
        "output": cast(OutputView | None, job.output),
        **_outcome(job),
        **_times(job),
        **_details(job),
        **_rest(job, base_url),
    }


def etag(job: JobRecord) -> str:
    """Changes whenever what `job_view` says does."""
    if not job.deliveries:
        return f'W/"{job.version}"'
    return f'W/"{job.version}.{zlib.crc32(repr(job.deliveries).encode()):08x}"'


def _head(job: JobRecord | JobSummary) -> _Head:
    return {"id": show_job(job.id), "status": job.state.value, "model": job.model}


def _outcome(job: JobRecord | JobSummary) -> _Outcome:
    return {"error": error_view(job), "usage": usage_view(job)}


def _times(job: JobRecord | JobSummary) -> _Times:
    return {
        "created_at": job.created_at,
        "run_at": job.run_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "deadline_at": job.deadline_at,
        "queue_ms": job.queue_ms,
    }


def _details(job: JobRecord) -> _Details:
    return {
        "run_ms": _run_ms(job),
        "input": job.request["messages"],
        "params": job.request["params"],
        "timeout_seconds": job.timeout_seconds,
        "retry": {
            "max_attempts": job.max_attempts,
            "initial_seconds": job.retry_initial_seconds,
            "max_seconds": job.retry_max_seconds,
        },
        "attempts": [attempt_view(attempt) for attempt in job.attempts],
        "webhook": webhook_view(job),
    }


def _rest(job: JobRecord | JobSummary, base_url: str) -> _Rest:
    url = f"{base_url}/v1/jobs/{show_job(job.id)}"
    return {
        "object": "job",
        "metadata": job.metadata,
        "priority": job.priority.value,
        "max_attempts": job.max_attempts,
        "attempts_used": job.attempts_used,
        "urls": {"self": url, "cancel": f"{url}/cancel", "retry": f"{url}/retry"},
    }


def _run_ms(job: JobRecord) -> int | None:
    spent = [attempt.finished_at - attempt.started_at for attempt in job.attempts if attempt.finished_at is not None]
    return round(sum(each.total_seconds() for each in spent) * 1000) if spent else None
