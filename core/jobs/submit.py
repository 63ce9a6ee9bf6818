"""Stop 2 of 9 · from api/routes/jobs.py · to core/queue/ring.py

Accepts a job: transaction 1. When this returns the job is committed; ringing for it is best effort, because the sweep
rings for whatever was not rung.
"""

from dataclasses import dataclass
from datetime import datetime

import orjson
from pydantic import JsonValue

from core.domain.errors import Gone, InvalidParameter
from core.domain.ids import JobId, TenantId, new_job_id, show_job
from core.domain.job_state import JobState, Priority
from core.jobs.context import JobContext
from core.jobs.records import Inserted, JobRecord, KeyHeld, NewJob
from core.observability.metrics import SUBMITTED
from core.queue.keys import lane_of
from core.queue.ring import ring_job


@dataclass(frozen=True, slots=True)
class Draft:
    """A job as its caller described it, checked for shape. Seconds count from now."""

    model: str
    messages: list[JsonValue]
    params: dict[str, JsonValue]
    metadata: dict[str, str]
    priority: Priority
    run_at: datetime | None
    deadline_seconds: float | None
    timeout_seconds: float | None
    max_attempts: int | None
    webhook_url: str | None
    webhook_events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Submission:
    """The job, and whether an earlier submit with the same Idempotency-Key made it."""

    job: JobRecord
    replayed: bool


async def submit_job(
    context: JobContext,
    tenant_id: TenantId,
    draft: Draft,
    *,
    request_id: str | None,
    idempotency_key: str | None,
    fingerprint: bytes | None,
) -> Submission:
    """Commits the job and rings for it.

    Raises InvalidParameter for an unknown model or parameter, or a key that was used with another body; Gone when
    the key's job was deleted; Overloaded when too many submits wait for PostgreSQL.
    """
    context.catalogue.validate(draft.model, draft.params)
    job = _new_job(context, tenant_id, draft, request_id, idempotency_key, fingerprint)
    match await context.group_commit.inserts.submit(job):
        case Inserted() as inserted:
            delay = (inserted.run_at - inserted.created_at).total_seconds()
            context.ring.ring(ring_job(job.id, lane_of(job.priority), delay))
            SUBMITTED.labels(provider=draft.model.partition("/")[0], priority=job.priority.value).inc()
            return Submission(_fresh(job, inserted, draft), replayed=False)
        case KeyHeld(job_id=held_by, fingerprint=first) if first == fingerprint:
            return Submission(await _held_job(context, tenant_id, held_by), replayed=True)
        case KeyHeld():
            raise InvalidParameter(
                "This Idempotency-Key was used before with another body. Send a new key for a new job.",
                code="idempotency_key_reused",
                param="Idempotency-Key",
            )


async def _held_job(context: JobContext, tenant_id: TenantId, job_id: JobId) -> JobRecord:
    found = await context.group_commit.reads.submit((job_id, tenant_id))
    if found is None:
        raise Gone(f"{show_job(job_id)}, which this Idempotency-Key made, was deleted. Send a new key for a new job.")
    return found


def _new_job(
    context: JobContext,
    tenant_id: TenantId,
    draft: Draft,
    request_id: str | None,
    idempotency_key: str | None,
    fingerprint: bytes | None,
) -> NewJob:
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
        max_attempts=draft.max_attempts or context.settings.max_attempts,
        webhook_url=draft.webhook_url,
        webhook_events=draft.webhook_events,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
    )


def _fresh(job: NewJob, inserted: Inserted, draft: Draft) -> JobRecord:
    """The record as PostgreSQL holds it now, without asking again."""
    return JobRecord(
        id=job.id,
        tenant_id=job.tenant_id,
        state=JobState.QUEUED,
        version=1,
        model=job.model,
        request={"messages": draft.messages, "params": draft.params},
        metadata=dict(draft.metadata),
        priority=job.priority,
        request_id=job.request_id,
        created_at=inserted.created_at,
        run_at=inserted.run_at,
        started_at=None,
        finished_at=None,
        queue_ms=None,
        deadline_at=inserted.deadline_at,
        timeout_seconds=job.timeout_seconds,
        max_attempts=job.max_attempts,
        attempts_used=0,
        webhook_url=job.webhook_url,
        webhook_events=job.webhook_events if job.webhook_url else (),
        input_tokens=None,
        output_tokens=None,
        error_class=None,
        error_code=None,
        error_message=None,
        output=None,
        attempts=(),
        deliveries=(),
    )
