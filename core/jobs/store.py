"""The only statements that write jobs, each for many rows and each guarded (sql/*.sql).

Called by the use cases of core/jobs, alone or through a Batcher. Every function runs in its caller's transaction
and answers in the order it was asked.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg
import orjson

from core.db.session import Connection
from core.domain.ids import DeliveryId, JobId, LeaseToken, TenantId
from core.domain.inference import InferenceResult
from core.domain.job_state import JobState, Priority
from core.jobs.records import Applied, Change, ClaimedJob, HeldJob, Inserted, KeyHeld, NewJob, NotDue, RowLocked
from core.jobs.statements import statement


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
    inserted = {
        JobId(record["id"]): Inserted(
            record["created_at"], record["run_at"], record["deadline_at"], _deliveries(record)
        )
        for record in await connection.fetch(
            statement("insert"), *_columns([_insert_row(job) for job in rows], 17), key_seconds
        )
    }
    held = await _held_keys(connection, [job for job in jobs if job.id not in inserted])
    return [inserted.get(job.id) or held[job.tenant_id, job.idempotency_key or ""] for job in jobs]


async def _held_keys(connection: Connection, jobs: Sequence[NewJob]) -> dict[tuple[TenantId, str], KeyHeld]:
    if not jobs:
        return {}
    records = await connection.fetch(
        statement("held_keys"), [job.tenant_id for job in jobs], [job.idempotency_key for job in jobs]
    )
    return {
        (TenantId(record["tenant_id"]), record["key"]): KeyHeld(
            JobId(record["job_id"]), record["fingerprint"], JobState(record["state"]) if record["state"] else None
        )
        for record in records
    }


async def claim(
    connection: Connection, job_ids: Sequence[JobId], *, worker_id: str
) -> list[ClaimedJob | NotDue | None]:
    """The claim edge. None: not queued, past its deadline, or somebody else is changing it right now."""
    records = await connection.fetch(statement("claim"), list(dict.fromkeys(job_ids)), worker_id)
    found: dict[JobId, ClaimedJob | NotDue] = {}
    for record in records:
        job_id = JobId(record["id"])
        if record["lease_token"] is not None:
            found[job_id] = ClaimedJob(
                id=job_id,
                tenant_id=TenantId(record["tenant_id"]),
                model=record["model"],
                request=record["request"],
                priority=Priority(record["priority"]),
                version=record["version"],
                run_no=record["run_no"],
                attempts_used=record["attempts_used"],
                max_attempts=record["max_attempts"],
                retry_initial_seconds=record["retry_initial_seconds"],
                retry_max_seconds=record["retry_max_seconds"],
                snoozes=record["snoozes"],
                snoozed_seconds=record["snoozed_seconds"],
                lease_token=LeaseToken(record["lease_token"]),
                follows_lost_run=record["follows_lost_run"],
                timeout_seconds=record["timeout_seconds"],
                seconds_left=record["seconds_left"],
                queue_seconds=record["queue_seconds"],
                delivery_ids=_deliveries(record),
                has_listeners=record["has_listeners"],
            )
        elif record["seconds_until_due"] > 0:
            found[job_id] = NotDue(record["seconds_until_due"])
    # A job asked for twice in one batch is claimed once.
    return [found.pop(job_id, None) for job_id in job_ids]


async def mark_called(connection: Connection, runs: Sequence[tuple[JobId, TenantId, int]]) -> list[bool]:
    """Notes that each run's call goes out now; False where the run is over already."""
    records = await connection.fetch(statement("called"), *_columns(runs, 3))
    marked = {(record["job_id"], record["run_no"]) for record in records}
    return [(job_id, run_no) in marked for job_id, _, run_no in runs]


async def runs_of_worker(
    connection: Connection, worker_id: str, job_ids: Sequence[JobId] | None = None
) -> set[tuple[JobId, int]]:
    """The runs (job and run_no) that the worker has, as PostgreSQL knows it; of `job_ids` only where they are named."""
    records = await connection.fetch(statement("runs_of_worker"), worker_id, job_ids)
    return {(JobId(record["id"]), record["run_no"]) for record in records}


async def succeed(connection: Connection, changes: Sequence[Change]) -> list[Applied | None]:
    """The succeed edge where nobody listens. None: nothing was written, and `apply` does it or tells why not."""
    # One run ends once: of two changes of a job the later one is left to `apply`.
    rows = {change.job_id: change for change in reversed(changes)}
    records = await connection.fetch(
        statement("succeed"), *_columns([_success_row(change) for change in rows.values()], 9)
    )
    applied = {JobId(record["id"]): Applied(record["version"], ()) for record in records}
    return [applied.get(change.job_id) if rows[change.job_id] is change else None for change in changes]


async def apply(connection: Connection, changes: Sequence[Change]) -> list[Applied | RowLocked | None]:
    """Every edge but the claim. None: the job had moved on, and nothing at all was written for it.

    RowLocked: nothing was written either, because somebody else held the job's row.
    """
    # Two changes of one job in one statement would both be announced; the later one finds that it has moved on.
    rows = {change.job_id: change for change in reversed(changes)}
    records = await connection.fetch(
        statement("apply"), *_columns([_change_row(change) for change in rows.values()], 27)
    )
    outcomes: dict[JobId, Applied | RowLocked] = {
        JobId(record["id"]): Applied(record["version"], _deliveries(record)) for record in records
    }
    if missed := [change for change in rows.values() if change.job_id not in outcomes]:
        outcomes |= {job_id: RowLocked() for job_id in await _still_possible(connection, missed)}
    return [outcomes.get(change.job_id) if rows[change.job_id] is change else None for change in changes]


async def _still_possible(connection: Connection, changes: Sequence[Change]) -> list[JobId]:
    guards = [_change_row(change)[:5] for change in changes]
    return [JobId(record["id"]) for record in await connection.fetch(statement("unchanged"), *_columns(guards, 5))]


async def note_late_usage(
    connection: Connection, job_id: JobId, tenant_id: TenantId, run_no: int, result: InferenceResult
) -> None:
    """What a superseded run cost."""
    usage = orjson.dumps(result.usage).decode()
    await connection.execute(statement("late_usage"), job_id, tenant_id, run_no, usage, result.provider_request_id)


async def hold(connection: Connection, tenant_id: TenantId, job_ids: Sequence[JobId]) -> dict[JobId, HeldJob]:
    """Locks those of the jobs that are the tenant's."""
    return {
        JobId(record["id"]): HeldJob(
            id=JobId(record["id"]),
            tenant_id=TenantId(record["tenant_id"]),
            state=JobState(record["state"]),
            version=record["version"],
            model=record["model"],
            run_no=record["run_no"],
            priority=Priority(record["priority"]),
        )
        for record in await connection.fetch(statement("held_jobs"), tenant_id, list(job_ids))
    }


async def delete(connection: Connection, jobs: Sequence[tuple[JobId, TenantId]]) -> int:
    """Deletes those that have ended; answers how many."""
    return len(await connection.fetch(statement("delete"), *_columns(jobs, 2)))


def _deliveries(record: asyncpg.Record) -> tuple[DeliveryId, ...]:
    return tuple(DeliveryId(each) for each in record["delivery_ids"])


def _insert_row(job: NewJob) -> tuple[object, ...]:
    return (
        job.id,
        job.tenant_id,
        job.model,
        job.request,
        job.metadata,
        job.priority.value,
        job.request_id,
        job.run_at,
        job.deadline_seconds,
        job.timeout_seconds,
        job.max_attempts,
        job.retry_initial_seconds,
        job.retry_max_seconds,
        job.webhook_url,
        " ".join(job.webhook_events) if job.webhook_url else None,
        job.idempotency_key,
        job.fingerprint,
    )


def _success_row(change: Change) -> tuple[object, ...]:
    return (change.job_id, change.tenant_id, change.run_no, change.lease_token, *_usage(change), change.output)


def _usage(change: Change) -> tuple[object, ...]:
    result = change.transition.result
    if result is None:
        return (None, None, None, None)
    usage = result.usage
    return (usage.input_tokens, usage.output_tokens, orjson.dumps(usage).decode(), result.provider_request_id)


_NO_FAILURE: Final = (None, None, None, None, None)


def _change_row(change: Change) -> tuple[object, ...]:
    transition, failure, event = change.transition, change.transition.failure, change.event
    return (
        change.job_id,
        change.tenant_id,
        change.run_no,
        change.lease_token,
        " ".join(sorted(transition.from_states)),
        transition.to_state.value,
        transition.attempt_outcome.value if transition.attempt_outcome else None,
        transition.attempts_delta,
        transition.resets_attempts,
        transition.loses_worker,
        transition.counts_snooze,
        transition.delay,
        *(
            (failure.error_class, failure.code, failure.message, failure.http_status, failure.retry_after)
            if failure
            else _NO_FAILURE
        ),
        failure.billed if failure else "yes",
        *_usage(change),
        change.output,
        event.event_id if event else None,
        event.type if event else None,
        orjson.dumps(event.body()) if event else None,
        event.response_type if event else None,
    )


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """Rows turned into one array a column, as unnest takes them."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
