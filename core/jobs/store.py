"""The only statements that write jobs, each for many rows and each guarded (sql/*.sql).

Called by the use cases of core/jobs, alone or through core/jobs/group_commit.py. Every function runs in its caller's
transaction and returns outcomes in the order of its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import orjson

from core.db.rows import from_record
from core.db.session import Connection
from core.db.statements import Statement
from core.domain.events import response_type
from core.domain.ids import JobId, LeaseToken, TenantId
from core.domain.inference import InferenceResult
from core.domain.job_state import TERMINAL, JobState
from core.domain.transitions import AttemptOutcome
from core.jobs.records import (
    Applied,
    Change,
    ClaimedJob,
    HeldJob,
    Inserted,
    JobKey,
    KeyHeld,
    NewJob,
    NotDue,
    RowLocked,
    Run,
)


class IdempotencyKey(NamedTuple):
    """An idempotency key, which is its tenant's own."""

    tenant_id: TenantId
    key: str


@dataclass(frozen=True, slots=True)
class Guard:
    """What must still hold of a job for its change to be made. `from_states` are separated by spaces."""

    id: JobId
    tenant_id: TenantId
    run_no: int | None
    lease_token: LeaseToken | None
    from_states: str


class SucceededRow(NamedTuple):
    """A run that ended with an answer."""

    id: JobId
    tenant_id: TenantId
    run_no: int | None
    lease_token: LeaseToken | None
    input_tokens: int | None
    output_tokens: int | None
    usage: str
    provider_request_id: str | None
    output: bytes | None


# Made for each row of a hot statement and read once: to freeze it would cost three times as much.
@dataclass(slots=True)
class ChangedRow:
    """A Change, flat: its guard, what its transition does to the job, its failure, its result."""

    id: JobId
    tenant_id: TenantId
    run_no: int | None
    lease_token: LeaseToken | None
    from_states: str
    to_state: JobState
    attempt_outcome: AttemptOutcome | None
    attempts_delta: int
    resets_attempts: bool
    loses_worker: bool
    counts_snooze: bool
    delay: float | None
    output: bytes | None
    billed: str = "yes"
    error_class: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    http_status: int | None = None
    retry_after: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    usage: str | None = None
    provider_request_id: str | None = None
    response_type: str | None = None


INSERT: Final = Statement("core/jobs/sql/insert.sql", NewJob)
HELD_KEYS: Final = Statement("core/jobs/sql/held_keys.sql", IdempotencyKey)
CLAIM: Final = Statement("core/jobs/sql/claim.sql")
CALLED: Final = Statement("core/jobs/sql/called.sql", Run)
RUNS_OF_WORKER: Final = Statement("core/jobs/sql/runs_of_worker.sql")
SUCCEED: Final = Statement("core/jobs/sql/succeed.sql", SucceededRow)
APPLY: Final = Statement("core/jobs/sql/apply.sql", ChangedRow)
UNCHANGED: Final = Statement("core/jobs/sql/unchanged.sql", Guard)
LATE_USAGE: Final = Statement("core/jobs/sql/late_usage.sql")
HELD_JOBS: Final = Statement("core/jobs/sql/held_jobs.sql")
DELETE: Final = Statement("core/jobs/sql/delete.sql", JobKey)


async def insert(connection: Connection, jobs: Sequence[NewJob], *, key_seconds: float) -> list[Inserted | KeyHeld]:
    """Inserts each job, or says who holds its idempotency key."""
    first_of_key: dict[tuple[TenantId, str], NewJob] = {}
    for job in jobs:
        if job.idempotency_key is not None:
            first_of_key.setdefault((job.tenant_id, job.idempotency_key), job)
    # Within one statement a key may be taken only once; its later rows find it held, as if they had come later.
    rows = [
        job for job in jobs if job.idempotency_key is None or first_of_key[job.tenant_id, job.idempotency_key] is job
    ]
    records = await INSERT.fetch(connection, rows, key_seconds=key_seconds)
    inserted: dict[UUID, Inserted] = {record["id"]: from_record(Inserted, record) for record in records}
    held = await _held_keys(connection, [job for job in jobs if job.id not in inserted])
    return [inserted.get(job.id) or held[IdempotencyKey(job.tenant_id, job.idempotency_key or "")] for job in jobs]


async def _held_keys(connection: Connection, jobs: Sequence[NewJob]) -> dict[IdempotencyKey, KeyHeld]:
    if not jobs:
        return {}
    records = await HELD_KEYS.fetch(
        connection, [IdempotencyKey(job.tenant_id, job.idempotency_key or "") for job in jobs]
    )
    return {from_record(IdempotencyKey, record): from_record(KeyHeld, record) for record in records}


async def claim(
    connection: Connection, job_ids: Sequence[JobId], *, worker_id: str
) -> list[ClaimedJob | NotDue | None]:
    """The claim edge. None: not queued, past its deadline, or somebody else is changing it right now."""
    found: dict[JobId, ClaimedJob | NotDue] = {}
    for record in await CLAIM.fetch(connection, job_ids=list(dict.fromkeys(job_ids)), worker_id=worker_id):
        if record["lease_token"] is not None:
            found[record["id"]] = from_record(ClaimedJob, record)
        elif record["seconds_until_due"] > 0:
            found[record["id"]] = NotDue(record["seconds_until_due"])
    # A job asked for twice in one group is claimed once.
    return [found.pop(job_id, None) for job_id in job_ids]


async def mark_called(connection: Connection, runs: Sequence[Run]) -> list[bool]:
    """Records that each run's call goes out now; False where the run is over already."""
    marked = {(record["job_id"], record["run_no"]) for record in await CALLED.fetch(connection, runs)}
    return [(run.job_id, run.run_no) in marked for run in runs]


async def runs_of_worker(
    connection: Connection, worker_id: str, job_ids: Sequence[JobId] | None = None
) -> set[tuple[JobId, int]]:
    """The runs (job and run_no) that the worker has, as PostgreSQL knows it; of `job_ids` only where they are named."""
    records = await RUNS_OF_WORKER.fetch(connection, worker_id=worker_id, job_ids=job_ids)
    return {(JobId(record["id"]), record["run_no"]) for record in records}


async def succeed(connection: Connection, changes: Sequence[Change]) -> list[Applied | None]:
    """The succeed edge without recipients. None: nothing was written; `apply` does it or says why not."""
    # One run ends once: of two changes of a job the later one is left to `apply`.
    rows = {change.job_id: change for change in reversed(changes)}
    records = await SUCCEED.fetch(connection, [_succeeded_row(change) for change in rows.values()])
    applied = {JobId(record["id"]): Applied(record["version"], ()) for record in records}
    return [applied.get(change.job_id) if rows[change.job_id] is change else None for change in changes]


async def apply(connection: Connection, changes: Sequence[Change]) -> list[Applied | RowLocked | None]:
    """Every edge but the claim. None: the job had moved on, and nothing at all was written for it.

    RowLocked: nothing was written either, because somebody else held the job's row.
    """
    # Two changes of one job in one statement would both be published; the later one finds that it has moved on.
    rows = {change.job_id: change for change in reversed(changes)}
    records = await APPLY.fetch(connection, [_changed_row(change) for change in rows.values()])
    outcomes: dict[JobId, Applied | RowLocked] = {record["id"]: from_record(Applied, record) for record in records}
    if missed := [change for change in rows.values() if change.job_id not in outcomes]:
        still_possible = await UNCHANGED.fetch(connection, [_guard(change) for change in missed])
        outcomes |= {JobId(record["id"]): RowLocked() for record in still_possible}
    return [outcomes.get(change.job_id) if rows[change.job_id] is change else None for change in changes]


async def note_late_usage(connection: Connection, run: Run, result: InferenceResult) -> None:
    """Records what a superseded run cost."""
    await LATE_USAGE.execute(
        connection,
        job_id=run.job_id,
        tenant_id=run.tenant_id,
        run_no=run.run_no,
        usage=orjson.dumps(result.usage).decode(),
        provider_request_id=result.provider_request_id,
    )


async def hold(connection: Connection, tenant_id: TenantId, job_ids: Sequence[JobId]) -> dict[JobId, HeldJob]:
    """Locks those of the jobs that are the tenant's."""
    records = await HELD_JOBS.fetch(connection, tenant_id=tenant_id, job_ids=list(job_ids))
    return {JobId(record["id"]): from_record(HeldJob, record) for record in records}


async def delete(connection: Connection, jobs: Sequence[JobKey]) -> int:
    """Deletes those that have ended. Returns how many."""
    return len(await DELETE.fetch(connection, jobs))


def _succeeded_row(change: Change) -> SucceededRow:
    result = change.transition.result
    if result is None:
        raise ValueError("a success without its result")
    return SucceededRow(
        id=change.job_id,
        tenant_id=change.tenant_id,
        run_no=change.run_no,
        lease_token=change.lease_token,
        input_tokens=result.usage.input_tokens,
        output_tokens=result.usage.output_tokens,
        usage=orjson.dumps(result.usage).decode(),
        provider_request_id=result.provider_request_id,
        output=change.output,
    )


def _guard(change: Change) -> Guard:
    return Guard(change.job_id, change.tenant_id, change.run_no, change.lease_token, _from_states(change))


def _from_states(change: Change) -> str:
    return " ".join(sorted(change.transition.from_states))


def _changed_row(change: Change) -> ChangedRow:
    transition = change.transition
    row = ChangedRow(
        id=change.job_id,
        tenant_id=change.tenant_id,
        run_no=change.run_no,
        lease_token=change.lease_token,
        from_states=_from_states(change),
        to_state=transition.to_state,
        attempt_outcome=transition.attempt_outcome,
        attempts_delta=transition.attempts_delta,
        resets_attempts=transition.resets_attempts,
        loses_worker=transition.loses_worker,
        counts_snooze=transition.counts_snooze,
        delay=transition.delay,
        output=change.output,
    )
    if (failure := transition.failure) is not None:
        row.error_class, row.error_code, row.error_message = failure.error_class, failure.code, failure.message
        row.http_status, row.retry_after, row.billed = failure.http_status, failure.retry_after, failure.billed
    if (result := transition.result) is not None:
        row.input_tokens, row.output_tokens = result.usage.input_tokens, result.usage.output_tokens
        row.usage, row.provider_request_id = orjson.dumps(result.usage).decode(), result.provider_request_id
    if transition.to_state in TERMINAL:
        row.response_type = response_type(transition.to_state, result.finish_reason if result else None)
    return row
