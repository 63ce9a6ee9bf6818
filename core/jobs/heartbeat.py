"""The runs of this process: which jobs it has, and how each learns that it may not go on.

A run ends early when PostgreSQL no longer knows it (cancelled, expired, rescued), when its worker was declared dead,
or when the worker drains. While the worker's lease may be over (core/jobs/worker_lease.py) no new call begins, and what
is under way goes on: PostgreSQL decides whether its answer counts. Held by core/jobs/execute.py.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from core.db.engine import Database
from core.db.session import hot_statement
from core.domain.ids import JobId
from core.jobs import store
from core.jobs.records import ClaimedJob
from core.jobs.worker_lease import WorkerLease

log = structlog.get_logger(__name__)

Run = tuple[JobId, int]


class LeaseEnd(StrEnum):
    LOST = "lost"
    DRAINED = "drained"


class LeaseEnded(Exception):
    """The run may not go on; `end` says why."""

    def __init__(self, end: LeaseEnd) -> None:
        super().__init__(end.value)
        self.end = end


@dataclass(slots=True)
class Lease:
    """One run's share in its worker's lease."""

    job: ClaimedJob
    worker: WorkerLease
    ended: LeaseEnd | None = None
    _scope: asyncio.Timeout | None = None

    def end(self, end: LeaseEnd) -> None:
        """Ends the run: what is inside `open_call` is cancelled now."""
        if self.ended is None:
            self.ended = end
            if self._scope is not None:
                self._scope.reschedule(asyncio.get_running_loop().time())

    @property
    def is_valid(self) -> bool:
        """Whether nobody else can have the job yet."""
        return self.ended is None and self.worker.is_valid

    @property
    def may_call(self) -> bool:
        """Whether a call may begin: with half a lease to spare for a process that is slow to send it."""
        # guard: call-within-lease
        return self.ended is None and self.worker.may_claim

    def check(self) -> None:
        """Raises LeaseEnded when the run is over."""
        if self.ended is not None:
            raise LeaseEnded(self.ended)

    @asynccontextmanager
    async def open_call(self) -> AsyncIterator[None]:
        """Around a call to a provider: closed when the run is over. Raises LeaseEnded then."""
        self.check()
        try:
            async with asyncio.timeout(None) as self._scope:
                yield
        except TimeoutError:
            if self.ended is None:
                raise
            raise LeaseEnded(self.ended) from None
        finally:
            self._scope = None


@dataclass(slots=True)
class Leases:
    """Every run of this process."""

    database: Database
    worker: WorkerLease
    _held: dict[JobId, Lease] = field(default_factory=dict)
    _unheld: frozenset[Run] = frozenset()
    _draining: bool = False

    def __post_init__(self) -> None:
        self.worker.on_death = self.lose_all

    def may_hold(self, job_id: JobId) -> bool:
        """Whether Redis may go on saying that the job is ours: not when the worker's lease may be over."""
        lease = self._held.get(job_id)
        return lease is None or lease.is_valid

    @asynccontextmanager
    async def hold(self, job: ClaimedJob, claimant: str | None = None) -> AsyncIterator[Lease]:
        """For as long as the run lasts, its lease."""
        lease = Lease(job, self.worker)
        if (older := self._held.get(job.id)) is not None:
            older.end(LeaseEnd.LOST)
        self._held[job.id] = lease
        if claimant not in (None, self.worker.id):
            # Claimed under an id that was declared dead since: somebody else may have the job.
            lease.end(LeaseEnd.LOST)
        if self._draining:
            lease.end(LeaseEnd.DRAINED)
        try:
            yield lease
        finally:
            if self._held.get(job.id) is lease:
                del self._held[job.id]

    async def look(self) -> frozenset[Run]:
        """Ends the runs that are not ours any more, and returns those that PostgreSQL believes us to have and we don't.

        Such a run was claimed by a statement whose answer never came; it is returned when two looks in a row saw it.
        Raises on a dead database.
        """
        ours = await self._look(None)
        unheld = frozenset(run for run in ours if run[0] not in self._held)
        found, self._unheld = unheld & self._unheld, unheld
        return found

    async def check(self, job_ids: Collection[JobId]) -> None:
        """Reads at once, not at the next look, whether jobs were cancelled, as a message says. Never raises."""
        held = [job_id for job_id in job_ids if job_id in self._held]
        if not held:
            return
        try:
            await self._look(held)
        except Exception as error:  # noqa: BLE001 - the next look finds out
            log.warning("runs_not_checked", error=type(error).__name__, runs=len(held))

    async def _look(self, job_ids: list[JobId] | None) -> set[Run]:
        wanted = self._held if job_ids is None else job_ids
        # Before the question: what is claimed meanwhile may be missing from the answer.
        held = [lease for job_id in wanted if (lease := self._held.get(job_id)) is not None]
        worker_id = self.worker.id
        async with hot_statement(self.database) as connection:
            ours = await store.runs_of_worker(connection, worker_id, job_ids)
        if worker_id == self.worker.id:
            for lease in held:
                if (lease.job.id, lease.job.run_no) not in ours and self._held.get(lease.job.id) is lease:
                    # guard: lost-run-ends
                    lease.end(LeaseEnd.LOST)
        return ours

    def lose_all(self) -> None:
        """Ends every run: the worker was declared dead, and its jobs go to others."""
        for lease in list(self._held.values()):
            lease.end(LeaseEnd.LOST)

    def drain(self) -> None:
        """The worker stops: every run is put back, at no cost to its job."""
        self._draining = True
        for lease in list(self._held.values()):
            lease.end(LeaseEnd.DRAINED)
