"""Jobs as PostgreSQL holds them, read by the schema's owner: what the model and the invariants are held against.

Times become what matters about them (is there a live lease, is it due, has the deadline passed), so that two views can
be compared.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol
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


_LOOK = """
SELECT
    (SELECT json_agg(json_build_object(
        'id', job.id, 'state', job.state, 'version', job.version, 'run_no', job.run_no,
        'attempts_used', job.attempts_used, 'max_attempts', job.max_attempts, 'worker_losses', job.worker_losses,
        'leased', job.lease_token IS NOT NULL, 'error_code', job.error_code,
        'result_run', (SELECT run_no FROM results WHERE job_id = job.id),
        'attempts', (SELECT json_agg(json_build_object(
            'run_no', run_no, 'attempt', attempt, 'outcome', outcome, 'called', called_at IS NOT NULL,
            'billed', billed, 'error_code', error_code, 'usage', usage IS NOT NULL) ORDER BY run_no)
            FROM attempts WHERE job_id = job.id),
        'deliveries', (SELECT json_agg(json_build_object(
            'event_type', event_type, 'state', state, 'attempts', attempts,
            'sequence', (convert_from(body, 'UTF8')::json -> 'data' ->> 'sequence')::int) ORDER BY created_at, id)
            FROM deliveries WHERE job_id = job.id)))::text
     FROM jobs AS job WHERE job.tenant_id = ANY ($1)) AS jobs,
    array(SELECT id FROM deleted_jobs WHERE tenant_id = ANY ($1)) AS deleted,
    array(SELECT event_id FROM deliveries WHERE tenant_id = ANY ($1)) AS event_ids
"""


class Owner(Protocol):
    """A connection or a pool of the schema's owner."""

    async def fetchrow(self, query: str, /, *args: object) -> asyncpg.Record | None: ...


async def look(owner: Owner, tenant_ids: Collection[UUID]) -> View:
    """Everything at one instant."""
    row = await owner.fetchrow(_LOOK, tenant_ids)
    assert row is not None
    jobs: list[dict[str, Any]] = orjson.loads(row["jobs"] or "[]")
    return View({UUID(job.pop("id")): _job(job) for job in jobs}, frozenset(row["deleted"]), tuple(row["event_ids"]))


def _job(job: dict[str, Any]) -> JobView:
    return JobView(
        state=JobState(job.pop("state")),
        attempts=tuple(AttemptView(**each) for each in job.pop("attempts") or ()),
        deliveries=tuple(DeliveryView(**each) for each in job.pop("deliveries") or ()),
        **job,
    )
