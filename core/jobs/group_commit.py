"""The hot statements of jobs behind Batchers: one flusher for each, every caller its own outcome.

What a batch committed is enqueued at once, before its callers go on and even if they were cancelled: new jobs, and the
deliveries that a statement made. Made by core/runtime.py, once per process; used by submit, execute, finish and
queries. An API's batches see only the tenants whose callers are in them; a worker's see the fleet.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from core.db.batching import Batcher, Failed
from core.db.engine import Database
from core.db.sealed import Sealer
from core.db.session import hot_statement, hot_transaction
from core.domain.ids import JobId, TenantId
from core.domain.run_again import After
from core.jobs import queries, store
from core.jobs.records import Applied, Change, ClaimedJob, Inserted, JobRecord, KeyHeld, NewJob, NotDue, RowLocked
from core.queue.enqueue import Enqueuer, QueueEntry, delivery_entry, job_entry
from core.queue.keys import lane_of

_MAX_ROWS: Final = 200
_CLOSE_SECONDS: Final = 3.0
_MAX_NEW: Final = 1000

Run = tuple[JobId, TenantId, int]
Wanted = tuple[JobId, TenantId]


@dataclass(frozen=True, slots=True)
class GroupCommit:
    """One Batcher for each hot statement."""

    inserts: Batcher[NewJob, Inserted | KeyHeld]
    reads: Batcher[Wanted, JobRecord | None]
    claims: Batcher[JobId, ClaimedJob | NotDue | None]
    calls: Batcher[Run, bool]
    successes: Batcher[Change, Applied | None]
    changes: Batcher[Change, Applied | None]

    async def aclose(self) -> None:
        """Runs what is pending, for a few seconds at most: a PostgreSQL that stands still is not waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                for batcher in (self.inserts, self.claims, self.calls, self.successes, self.changes, self.reads):
                    await batcher.aclose()


def open_group_commit(
    database: Database, sealer: Sealer, enqueuer: Enqueuer, *, claimant: Callable[[], str], key_seconds: float
) -> GroupCommit:
    """`claimant` returns the id of the worker that claims; `key_seconds` is how long an idempotency key is held."""

    def scope(tenant_ids: Sequence[TenantId]) -> Sequence[TenantId] | None:
        return None if database.fleet else tenant_ids

    async def insert(jobs: Sequence[NewJob]) -> list[Inserted | KeyHeld]:
        async with hot_transaction(database, scope([job.tenant_id for job in jobs])) as connection:
            outcomes = await store.insert(connection, jobs, key_seconds=key_seconds)
        enqueuer.enqueue(*_entries_of_new(jobs, outcomes))
        return outcomes

    async def read(wanted: Sequence[Wanted]) -> list[JobRecord | Failed | None]:
        async with hot_transaction(database, scope([tenant_id for _, tenant_id in wanted])) as connection:
            return await queries.get_many(connection, sealer, wanted)

    async def claim(job_ids: Sequence[JobId]) -> list[ClaimedJob | NotDue | None]:
        async with hot_statement(database) as connection:
            outcomes = await store.claim(connection, job_ids, worker_id=claimant())
        claimed = [each for each in outcomes if isinstance(each, ClaimedJob)]
        enqueuer.enqueue(*(entry for each in claimed for entry in _entries_of_deliveries(each.tenant_id, each)))
        return outcomes

    async def call(runs: Sequence[Run]) -> list[bool]:
        async with hot_statement(database) as connection:
            return await store.mark_called(connection, runs)

    async def succeed(changes: Sequence[Change]) -> list[Applied | None]:
        async with hot_statement(database) as connection:
            return await store.succeed(connection, changes)

    async def change(changes: Sequence[Change]) -> list[Applied | Failed | None]:
        async with hot_statement(database) as connection:
            outcomes = await store.apply(connection, changes)
        applied = [
            (asked.tenant_id, each) for asked, each in zip(changes, outcomes, strict=True) if isinstance(each, Applied)
        ]
        enqueuer.enqueue(*(entry for tenant_id, each in applied for entry in _entries_of_deliveries(tenant_id, each)))
        return [Failed(each) if isinstance(each, RowLocked) else each for each in outcomes]

    return GroupCommit(
        # A request may bring a thousand, which cost least together; one group is made ready while another commits.
        inserts=Batcher("insert", insert, max_rows=_MAX_NEW, lanes=2, size_of=_size_of_new),
        reads=Batcher("read", read, max_rows=_MAX_ROWS),
        claims=Batcher("claim", claim, max_rows=_MAX_ROWS),
        calls=Batcher("call", call, max_rows=_MAX_ROWS),
        successes=Batcher("succeed", succeed, max_rows=_MAX_ROWS, size_of=_size_of_change),
        changes=Batcher("change", change, max_rows=_MAX_ROWS, size_of=_size_of_change),
    )


def _size_of_new(job: NewJob) -> int:
    return len(job.request) + len(job.metadata)


def _size_of_change(change: Change) -> int:
    return len(change.output or b"")


def _entries_of_new(jobs: Sequence[NewJob], outcomes: Sequence[Inserted | KeyHeld]) -> list[QueueEntry]:
    made = [(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True) if isinstance(outcome, Inserted)]
    return [
        job_entry(
            job.id,
            lane_of(job.priority),
            After((inserted.run_at - inserted.created_at).total_seconds()),
            tenant_id=job.tenant_id,
        )
        for job, inserted in made
    ] + [entry for job, inserted in made for entry in _entries_of_deliveries(job.tenant_id, inserted)]


def _entries_of_deliveries(tenant_id: TenantId, outcome: Inserted | ClaimedJob | Applied) -> list[QueueEntry]:
    return [delivery_entry(delivery_id, tenant_id) for delivery_id in outcome.delivery_ids]
