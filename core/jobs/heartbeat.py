"""The leases that this process holds: renewed together, and each told when it is over.

A lease ends for a run when PostgreSQL no longer knows it (cancelled, expired, rescued), or when the worker drains.
A worker that can't renew keeps a deadline of its own, counted from before the last good renewal was sent: after it no
new call is begun, because the job may be somebody else's by then. Held by core/jobs/execute.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from core.db.engine import Database
from core.db.session import hot_statement
from core.domain.ids import JobId
from core.jobs import store
from core.jobs.records import ClaimedJob

log = structlog.get_logger(__name__)


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
    """One job's. `valid_until` is in the loop's monotonic seconds."""

    job: ClaimedJob
    valid_until: float
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
        return self.ended is None and asyncio.get_running_loop().time() < self.valid_until

    def check(self) -> None:
        """Raises LeaseEnded unless a new side effect may begin."""
        if not self.is_valid:
            self.ended = self.ended or LeaseEnd.LOST
            raise LeaseEnded(self.ended)

    @asynccontextmanager
    async def open_call(self) -> AsyncIterator[None]:
        """Around a call to a provider: closed when the lease ends. Raises LeaseEnded then."""
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
    """Every lease of this process."""

    database: Database
    lease_seconds: float
    heartbeat_seconds: float
    _held: dict[JobId, Lease] = field(default_factory=dict)
    _draining: bool = False

    def may_hold(self, job_id: JobId) -> bool:
        """Whether Redis may go on saying that the job is ours: not when PostgreSQL's lease may be over."""
        lease = self._held.get(job_id)
        return lease is None or lease.is_valid

    @asynccontextmanager
    async def hold(self, job: ClaimedJob, claimed_at: float) -> AsyncIterator[Lease]:
        """Keeps the job's lease alive; `claimed_at` is the loop's time before the claim was sent."""
        lease = Lease(job, claimed_at + self.lease_seconds)
        if (older := self._held.get(job.id)) is not None:
            older.end(LeaseEnd.LOST)
        self._held[job.id] = lease
        if self._draining:
            lease.end(LeaseEnd.DRAINED)
        try:
            yield lease
        finally:
            if self._held.get(job.id) is lease:
                del self._held[job.id]

    async def beat(self, leases: Iterable[Lease]) -> None:
        """Renews `leases` in one statement and ends those that are not ours any more. Raises on a dead database."""
        asked = list(leases)
        if not asked:
            return
        sent_at = asyncio.get_running_loop().time()
        async with hot_statement(self.database) as connection:
            kept = await store.heartbeat(
                connection,
                [(lease.job.id, lease.job.lease_token) for lease in asked],
                lease_seconds=self.lease_seconds,
            )
        for lease in asked:
            if lease.job.id in kept:
                lease.valid_until = sent_at + self.lease_seconds
            elif self._held.get(lease.job.id) is lease:
                lease.end(LeaseEnd.LOST)

    async def keep(self, on_beat: Callable[[], None] = lambda: None) -> None:
        """Renews everything, for ever. A database that is away is waited for."""
        while True:
            await asyncio.sleep(self.heartbeat_seconds)
            await self._beat(self._held.values())
            on_beat()

    async def check(self, job_ids: Collection[JobId]) -> None:
        """Somebody says that these were cancelled: ask PostgreSQL, now rather than at the next beat. Never raises."""
        await self._beat([lease for job_id in job_ids if (lease := self._held.get(job_id)) is not None])

    async def _beat(self, leases: Collection[Lease]) -> None:
        try:
            await self.beat(leases)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next beat may work; without beats all is lost
            log.warning("heartbeat_failed", error=type(error).__name__, leases=len(leases))

    def drain(self) -> None:
        """The worker stops: every run is put back, at no cost to its job."""
        self._draining = True
        for lease in list(self._held.values()):
            lease.end(LeaseEnd.DRAINED)
