"""The hot statements of jobs, each for many callers at once: one method a statement, one outcome a caller.

**The enqueue happens here.** What a group has committed is enqueued before its callers go on, and even if they were
cancelled: new jobs in `_insert_group`, and in all that change jobs the deliveries that the statement made. It is best
effort; the sweep enqueues what was not.

Made by core/runtime.py, once per process; used by submit, execute, finish and watch. An API's groups see only the
tenants whose callers are in them; a worker's see the fleet.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from core.db.engine import Database
from core.db.grouping import Failed, Grouper
from core.db.sealed import Sealer
from core.db.session import hot_statement, hot_transaction
from core.domain.ids import JobId, TenantId
from core.domain.run_again import After
from core.jobs import queries, store
from core.jobs.records import (
    Applied,
    Change,
    ClaimedJob,
    Inserted,
    JobKey,
    JobRecord,
    KeyHeld,
    NewJob,
    NotDue,
    RowLocked,
    Run,
)
from core.queue.enqueue import Enqueuer, QueueEntry, delivery_entry, job_entry
from core.queue.keys import lane_of

_CLOSE_SECONDS: Final = 3.0
# A request may bring a thousand, which cost least together.
_MAX_NEW: Final = 1000


@dataclass(slots=True)
class GroupCommit:
    """`claimant` returns the id of the worker that claims; `key_seconds` is how long an idempotency key is held.

    Every method raises Overloaded or GrouperClosed, or what PostgreSQL raised for this row.
    """

    database: Database
    sealer: Sealer
    enqueuer: Enqueuer
    claimant: Callable[[], str]
    key_seconds: float
    _inserts: Grouper[NewJob, Inserted | KeyHeld] = field(init=False)
    _claims: Grouper[JobId, ClaimedJob | NotDue | None] = field(init=False)
    _calls: Grouper[Run, bool] = field(init=False)
    _successes: Grouper[Change, Applied | None] = field(init=False)
    _changes: Grouper[Change, Applied | None] = field(init=False)
    _reads: Grouper[JobKey, JobRecord | None] = field(init=False)

    def __post_init__(self) -> None:
        # One group of new jobs is made ready while another commits.
        self._inserts = Grouper("insert", self._insert_group, max_rows=_MAX_NEW, at_once=2, size_of=_size_of_new)
        self._claims = Grouper("claim", self._claim_group)
        self._calls = Grouper("call", self._mark_group_called)
        self._successes = Grouper("succeed", self._succeed_group, size_of=_size_of_change)
        self._changes = Grouper("apply", self._apply_group, size_of=_size_of_change)
        self._reads = Grouper("read", self._read_group)

    async def insert(self, job: NewJob) -> Inserted | KeyHeld:
        """Inserts the job and enqueues it, or returns who holds its idempotency key."""
        return await self._inserts.submit(job)

    async def insert_many(self, jobs: Sequence[NewJob]) -> list[Inserted | KeyHeld | BaseException]:
        """As `insert`; in the order of `jobs`, what each would have returned or raised."""
        return await self._inserts.submit_many(jobs)

    async def claim(self, job_id: JobId) -> ClaimedJob | NotDue | None:
        """Claims the job. None: not queued, past its deadline, or somebody else is changing it right now."""
        return await self._claims.submit(job_id)

    async def claim_many(self, job_ids: Sequence[JobId]) -> list[ClaimedJob | NotDue | BaseException | None]:
        """As `claim`; in the order of `job_ids`, what each would have returned or raised."""
        return await self._claims.submit_many(job_ids)

    async def mark_called(self, run: Run) -> bool:
        """Records that the run's call goes out now; False when the run is over already."""
        return await self._calls.submit(run)

    async def succeed(self, change: Change) -> Applied | None:
        """Ends a run whose end has no recipients. None: nothing was written; `apply` does it or says why not."""
        return await self._successes.submit(change)

    async def apply(self, change: Change) -> Applied | None:
        """Makes the change with all that belongs to it. None: the job had moved on. Raises RowLocked besides."""
        return await self._changes.submit(change)

    async def read(self, job_id: JobId, tenant_id: TenantId) -> JobRecord | None:
        """The whole job; None when the tenant has no such job. Raises JobUnreadable besides."""
        return await self._reads.submit(JobKey(job_id, tenant_id))

    async def aclose(self) -> None:
        """Runs what is pending, for a few seconds at most: a PostgreSQL that stands still is not waited for."""
        groupers = (self._inserts, self._claims, self._calls, self._successes, self._changes, self._reads)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                for grouper in groupers:
                    await grouper.aclose()

    async def _insert_group(self, jobs: Sequence[NewJob]) -> list[Inserted | KeyHeld]:
        async with hot_transaction(self.database, self._scope([job.tenant_id for job in jobs])) as connection:
            outcomes = await store.insert(connection, jobs, key_seconds=self.key_seconds)
        self.enqueuer.enqueue(*_entries_of_new(jobs, outcomes))
        return outcomes

    async def _claim_group(self, job_ids: Sequence[JobId]) -> list[ClaimedJob | NotDue | None]:
        async with hot_statement(self.database) as connection:
            outcomes = await store.claim(connection, job_ids, worker_id=self.claimant())
        for each in outcomes:
            if isinstance(each, ClaimedJob) and each.delivery_ids:
                self.enqueuer.enqueue(*_entries_of_deliveries(each.tenant_id, each))
        return outcomes

    async def _mark_group_called(self, runs: Sequence[Run]) -> list[bool]:
        async with hot_statement(self.database) as connection:
            return await store.mark_called(connection, runs)

    async def _succeed_group(self, changes: Sequence[Change]) -> list[Applied | None]:
        async with hot_statement(self.database) as connection:
            return await store.succeed(connection, changes)

    async def _apply_group(self, changes: Sequence[Change]) -> list[Applied | Failed | None]:
        async with hot_statement(self.database) as connection:
            outcomes = await store.apply(connection, changes)
        made = zip(changes, outcomes, strict=True)
        applied = [(change.tenant_id, done) for change, done in made if isinstance(done, Applied)]
        self.enqueuer.enqueue(
            *(each for tenant_id, done in applied for each in _entries_of_deliveries(tenant_id, done))
        )
        return [Failed(each) if isinstance(each, RowLocked) else each for each in outcomes]

    async def _read_group(self, wanted: Sequence[JobKey]) -> list[JobRecord | Failed | None]:
        async with hot_transaction(self.database, self._scope([job.tenant_id for job in wanted])) as connection:
            return await queries.get_many(connection, self.sealer, wanted)

    def _scope(self, tenant_ids: Sequence[TenantId]) -> Sequence[TenantId] | None:
        return None if self.database.fleet else tenant_ids


def _size_of_new(job: NewJob) -> int:
    return len(job.request) + len(job.metadata)


def _size_of_change(change: Change) -> int:
    return len(change.output or b"")


def _entries_of_new(jobs: Sequence[NewJob], outcomes: Sequence[Inserted | KeyHeld]) -> list[QueueEntry]:
    """What Redis is to hold of a group: its new jobs, then the deliveries that were made with them."""
    made = [(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True) if isinstance(outcome, Inserted)]
    return [
        job_entry(
            job.id,
            lane_of(job.priority),
            After((inserted.run_at - inserted.created_at).total_seconds()),
            tenant_id=job.tenant_id,
        )
        for job, inserted in made
    ] + [each for job, inserted in made for each in _entries_of_deliveries(job.tenant_id, inserted)]


def _entries_of_deliveries(tenant_id: TenantId, outcome: Inserted | ClaimedJob | Applied) -> list[QueueEntry]:
    return [delivery_entry(delivery_id, tenant_id) for delivery_id in outcome.delivery_ids]
