"""Stop 2 of 9 · from api/jobs/routes.py · to core/queue/enqueue.py

Accepts a job: transaction 1. When this returns the job is committed and enqueued (core/jobs/group_commit.py does both);
enqueueing is best effort, because the sweep enqueues whatever is missing in Redis.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import structlog
from pydantic import JsonValue

from core.db.faults import is_store_fault
from core.db.idempotency import key_reused
from core.db.rows import combined
from core.domain.errors import AppError, Gone, Internal, InvalidParameter, Unavailable
from core.domain.ids import JobId, TenantId, new_job_id, show_job
from core.domain.job_state import JobState, Priority
from core.domain.retry import NO_LIMITS, RetryLimits
from core.jobs.context import JobContext
from core.jobs.long_work import LongWork
from core.jobs.records import Inserted, JobRecord, KeyHeld, NewJob
from core.observability.metrics import SUBMITTED, count

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A job as its caller described it, checked for shape. Seconds count from now."""

    model: str
    messages: list[JsonValue]
    params: dict[str, JsonValue] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    priority: Priority = Priority.STANDARD
    run_at: datetime | None = None
    deadline_seconds: float | None = None
    timeout_seconds: float | None = None
    retry: RetryLimits = NO_LIMITS
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """The job, and whether an earlier submit with the same Idempotency-Key made it."""

    job: JobRecord
    replayed: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """One stored job, as the submit of many returns it."""

    job_id: JobId
    state: JobState
    replayed: bool


@dataclass(frozen=True, slots=True)
class Order:
    """A draft, and the key under which asking twice makes one job. The fingerprint is of the body that came with it."""

    draft: Draft
    idempotency_key: str | None = None
    fingerprint: bytes | None = None


async def submit_job(context: JobContext, tenant_id: TenantId, order: Order, *, request_id: str | None) -> Submission:
    """Commits the job; what is committed is enqueued.

    Raises InvalidParameter for an unknown model or parameter, or a key that was used with another body; Gone when
    the key's job was deleted; Overloaded when too many submits wait for PostgreSQL.
    """
    job = _new_job(context, tenant_id, order, request_id)
    return await _settled(context, job, order.draft, await context.group_commit.insert(job))


async def submit_jobs(
    context: JobContext, tenant_id: TenantId, orders: Sequence[Order], *, request_id: str | None
) -> list[Accepted | AppError]:
    """As `submit_job`, for many: each has its own outcome, in the order of `orders`, whatever becomes of the others.

    Raises Overloaded, or GrouperClosed, for all of them, and then none is stored.
    """
    jobs = []
    work = LongWork()
    for order in orders:
        jobs.append(_new_job_or_error(context, tenant_id, order, request_id))
        await work.give_way()
    outcomes = iter(await context.group_commit.insert_many([job for job in jobs if isinstance(job, NewJob)]))
    return [_accepted(job, next(outcomes)) if isinstance(job, NewJob) else job for job in jobs]


def _new_job_or_error(
    context: JobContext, tenant_id: TenantId, order: Order, request_id: str | None
) -> NewJob | AppError:
    try:
        return _new_job(context, tenant_id, order, request_id)
    except AppError as error:
        return error
    except Exception as error:  # noqa: BLE001 - it belongs to this line; the others go on
        return _line_failed(error)


def _accepted(job: NewJob, outcome: Inserted | KeyHeld | BaseException) -> Accepted | AppError:
    match outcome:
        case Inserted():
            count(SUBMITTED, job.model.partition("/")[0], job.priority.value)
            return Accepted(job.id, JobState.QUEUED, replayed=False)
        case KeyHeld() if outcome.fingerprint != job.fingerprint:
            return key_reused()
        case KeyHeld():
            if outcome.state is None:
                return _key_of_deleted(outcome.job_id)
            return Accepted(outcome.job_id, outcome.state, replayed=True)
        case BaseException():
            return _line_failed(outcome)


def _line_failed(error: BaseException) -> AppError:
    if is_store_fault(error):
        return Unavailable(
            "The database went away while this job was stored, and it may be stored: send the line again, with an "
            "idempotency_key if it must not run twice.",
            retry_after=1.0,
        )
    log.error("bulk_line_failed", error=type(error).__name__, exc_info=error)
    return Internal(
        "This line could not be stored, by a bug of inferd. Report it with the x-request-id of this answer."
    )


async def _settled(context: JobContext, job: NewJob, draft: Draft, outcome: Inserted | KeyHeld) -> Submission:
    match outcome:
        case Inserted() as inserted:
            count(SUBMITTED, job.model.partition("/")[0], job.priority.value)
            return Submission(_new_record(job, inserted, draft), replayed=False)
        # guard: key-same-body
        case KeyHeld(job_id=held_by, fingerprint=first) if first == job.fingerprint:
            return Submission(await _held_job(context, job.tenant_id, held_by), replayed=True)
        case KeyHeld():
            raise key_reused()


def _new_record(job: NewJob, inserted: Inserted, draft: Draft) -> JobRecord:
    """The job as PostgreSQL holds it now: what its insertion returned, and what was inserted."""
    return combined(
        JobRecord,
        inserted,
        job,
        request={"messages": draft.messages, "params": draft.params},
        metadata=dict(draft.metadata),
        webhook_events=draft.webhook_events if draft.webhook_url else (),
    )


def _key_of_deleted(job_id: JobId) -> Gone:
    return Gone(f"{show_job(job_id)}, which this Idempotency-Key made, was deleted. Send a new key for a new job.")


async def _held_job(context: JobContext, tenant_id: TenantId, job_id: JobId) -> JobRecord:
    found = await context.group_commit.read(job_id, tenant_id)
    if found is None:
        raise _key_of_deleted(job_id)
    return found


def _new_job(context: JobContext, tenant_id: TenantId, order: Order, request_id: str | None) -> NewJob:
    draft = order.draft
    context.catalogue.validate(draft.model, draft.params)
    retry = _retry_limits(context, draft)
    longest = context.settings.max_timeout_seconds
    if draft.timeout_seconds is not None and draft.timeout_seconds > longest:
        raise InvalidParameter(
            f"timeout_seconds: must be at most {longest:g} on this server (INFERD_JOB_MAX_TIMEOUT_SECONDS).",
            param="timeout_seconds",
        )
    job_id = new_job_id()
    request = orjson.dumps({"messages": draft.messages, "params": draft.params})
    return NewJob(
        id=job_id,
        tenant_id=tenant_id,
        model=draft.model,
        request=context.sealer.seal(request, tenant_id, "jobs.request", job_id),
        metadata=orjson.dumps(draft.metadata).decode(),
        priority=draft.priority,
        request_id=request_id,
        run_at=draft.run_at,
        deadline_seconds=draft.deadline_seconds,
        timeout_seconds=draft.timeout_seconds or context.settings.timeout_seconds,
        max_attempts=retry.max_attempts or context.settings.max_attempts,
        retry_initial_seconds=retry.initial_seconds or context.settings.retry_initial_seconds,
        retry_max_seconds=retry.max_seconds or context.settings.retry_max_seconds,
        webhook_url=draft.webhook_url,
        webhook_events=" ".join(draft.webhook_events) if draft.webhook_url else None,
        idempotency_key=order.idempotency_key,
        fingerprint=order.fingerprint,
    )


def _retry_limits(context: JobContext, draft: Draft) -> RetryLimits:
    """The job's own win over its provider's, and those over the settings'."""
    ours = context.settings
    settled = RetryLimits(ours.max_attempts, ours.retry_initial_seconds, ours.retry_max_seconds)
    return draft.retry.within(context.catalogue.retry_limits(draft.model).within(settled))
