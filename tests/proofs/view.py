"""Jobs as PostgreSQL holds them, read by the schema's owner: what the model of a job and the invariants are held against.

Times become what matters about them (is there a live lease, is it due, has the deadline passed), so that two views can
be compared.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import orjson

from core.domain.job_state import JobState


@dataclass(frozen=True)
class AttemptView:
    """One run at a provider."""

    run_no: int
    attempt: int
    outcome: str
    called: bool
    billed: str
    error_code: str | None
    usage: bool


@dataclass(frozen=True)
class DeliveryView:
    """One webhook. `sequence` is the job's version that it tells of."""

    event_type: str
    sequence: int
    state: str
    attempts: int


@dataclass(frozen=True)
class JobView:
    """One job with all that belongs to it. `result_run` is the run whose answer is stored."""

    state: JobState
    version: int
    run_no: int
    attempts_used: int
    max_attempts: int
    worker_losses: int
    leased: bool
    error_code: str | None
    result_run: int | None
    attempts: tuple[AttemptView, ...]
    deliveries: tuple[DeliveryView, ...]


@dataclass(frozen=True)
class View:
    """The jobs of some tenants, the ids of deleted ones, and all events that were ever announced and still are kept."""

    jobs: dict[UUID, JobView]
    deleted: frozenset[UUID]
    event_ids: tuple[UUID, ...]


_JOBS = """
SELECT job.id, job.state, job.version, job.run_no, job.attempts_used, job.max_attempts, job.worker_losses,
    job.lease_token IS NOT NULL AS leased, job.error_code, result.run_no AS result_run,
    (SELECT json_agg(json_build_object(
        'run_no', run_no, 'attempt', attempt, 'outcome', outcome, 'called', called_at IS NOT NULL, 'billed', billed,
        'error_code', error_code, 'usage', usage IS NOT NULL) ORDER BY run_no)::text
     FROM attempts WHERE job_id = job.id) AS attempts,
    (SELECT json_agg(json_build_object(
        'event_type', event_type, 'state', state, 'attempts', attempts,
        'sequence', (convert_from(body, 'UTF8')::json -> 'data' ->> 'sequence')::int) ORDER BY created_at, id)::text
     FROM deliveries WHERE job_id = job.id) AS deliveries
FROM jobs AS job LEFT JOIN results AS result ON result.job_id = job.id
WHERE job.tenant_id = ANY ($1)
"""


async def look(owner: "asyncpg.Connection[asyncpg.Record]", tenant_ids: Collection[UUID]) -> View:
    """Everything at one instant."""
    async with owner.transaction(isolation="repeatable_read", readonly=True):
        jobs = await owner.fetch(_JOBS, tenant_ids)
        deleted = await owner.fetch("SELECT id FROM deleted_jobs WHERE tenant_id = ANY ($1)", tenant_ids)
        events = await owner.fetch("SELECT event_id FROM deliveries WHERE tenant_id = ANY ($1)", tenant_ids)
    return View(
        {row["id"]: _job(row) for row in jobs},
        frozenset(row["id"] for row in deleted),
        tuple(row["event_id"] for row in events),
    )


def _job(row: asyncpg.Record) -> JobView:
    return JobView(
        state=JobState(row["state"]),
        version=row["version"],
        run_no=row["run_no"],
        attempts_used=row["attempts_used"],
        max_attempts=row["max_attempts"],
        worker_losses=row["worker_losses"],
        leased=row["leased"],
        error_code=row["error_code"],
        result_run=row["result_run"],
        attempts=tuple(AttemptView(**each) for each in orjson.loads(row["attempts"] or "[]")),
        deliveries=tuple(DeliveryView(**each) for each in orjson.loads(row["deliveries"] or "[]")),
    )
