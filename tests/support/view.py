"""Jobs as PostgreSQL holds them, read by the schema's owner: what the invariants are about, and what the model predicts.

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
    finished: bool


@dataclass(frozen=True)
class DeliveryView:
    """One webhook. `sequence` is the job's version at the event."""

    event_type: str
    sequence: int
    state: str
    attempts: int


@dataclass(frozen=True)
class JobView:
    """One job with all that belongs to it. `result_run` is the run whose answer is stored, and `recipients` is how many
    asked for a webhook at this end."""

    state: JobState
    version: int
    run_no: int
    attempts_used: int
    max_attempts: int
    worker_losses: int
    leased: bool
    finished: bool
    recipients: int
    error_code: str | None
    result_run: int | None
    attempts: tuple[AttemptView, ...]
    deliveries: tuple[DeliveryView, ...]


@dataclass(frozen=True)
class View:
    """The jobs of some tenants, the ids of deleted ones, and the kept events: job, sequence and webhook-id."""

    jobs: dict[UUID, JobView]
    deleted: frozenset[UUID]
    events: tuple[tuple[UUID, int, UUID], ...]


_LOOK = """
SELECT
    (SELECT json_agg(json_build_object(
        'id', job.id, 'state', job.state, 'version', job.version, 'run_no', job.run_no,
        'attempts_used', job.attempts_used, 'max_attempts', job.max_attempts, 'worker_losses', job.worker_losses,
        'leased', coalesce(job.lease_token::text, job.lease_expires_at::text, job.worker_id) IS NOT NULL,
        'finished', job.finished_at IS NOT NULL, 'error_code', job.error_code,
        'recipients', CASE WHEN job.state IN ('queued', 'running') THEN 0 ELSE
            (job.webhook_url IS NOT NULL AND 'job.' || job.state = ANY (job.webhook_events))::int
            + (SELECT count(*) FROM webhook_endpoints AS endpoint
               WHERE endpoint.tenant_id = job.tenant_id AND 'job.' || job.state = ANY (endpoint.event_types))
        END,
        'result_run', (SELECT run_no FROM results WHERE job_id = job.id),
        'attempts', (SELECT json_agg(json_build_object(
            'run_no', run_no, 'attempt', attempt, 'outcome', outcome, 'called', called_at IS NOT NULL,
            'billed', billed, 'error_code', error_code, 'usage', usage IS NOT NULL,
            'finished', finished_at IS NOT NULL) ORDER BY run_no)
            FROM attempts WHERE job_id = job.id),
        'deliveries', (SELECT json_agg(json_build_object(
            'event_type', event_type, 'state', state, 'attempts', attempts,
            'sequence', (convert_from(body, 'UTF8')::json -> 'data' ->> 'sequence')::int) ORDER BY created_at, id)
            FROM deliveries WHERE job_id = job.id)))::text
     FROM jobs AS job WHERE $1::uuid[] IS NULL OR job.tenant_id = ANY ($1)) AS jobs,
    array(SELECT id FROM deleted_jobs WHERE $1 IS NULL OR tenant_id = ANY ($1)) AS deleted,
    array(
        SELECT (job_id, (convert_from(body, 'UTF8')::json -> 'data' ->> 'sequence')::int, event_id)
        FROM deliveries WHERE $1 IS NULL OR tenant_id = ANY ($1)
    ) AS events
"""


class Owner(Protocol):
    """A connection or a pool of the schema's owner."""

    async def fetchrow(self, query: str, /, *args: object) -> asyncpg.Record | None: ...


async def look(owner: Owner, tenant_ids: Collection[UUID] | None = None) -> View:
    """Everything at one instant, of all tenants unless some are named."""
    row = await owner.fetchrow(_LOOK, tenant_ids)
    assert row is not None
    jobs: list[dict[str, Any]] = orjson.loads(row["jobs"] or "[]")
    return View(
        {UUID(job.pop("id")): _job(job) for job in jobs}, frozenset(row["deleted"]), tuple(map(tuple, row["events"]))
    )


def _job(job: dict[str, Any]) -> JobView:
    return JobView(
        state=JobState(job.pop("state")),
        attempts=tuple(AttemptView(**each) for each in job.pop("attempts") or ()),
        deliveries=tuple(DeliveryView(**each) for each in job.pop("deliveries") or ()),
        **job,
    )
