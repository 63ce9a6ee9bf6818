"""An API and a worker without their loops, and one tenant: what the scenarios of the guards play on."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from core.db.session import Connection, hot_transaction
from core.domain import transitions
from core.domain.ids import JobId
from core.domain.transitions import Transition
from core.jobs import store
from core.jobs.records import Applied, Change, ClaimedJob, RowLocked, Run
from core.queue.claims import Claims, open_claims
from core.queue.keys import JOB_LANES
from core.runtime import ApiRuntime, WorkerRuntime
from tests.conftest import OwnerPool
from tests.support.jobs import answer, submit
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.support.workers import lose_worker

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@dataclass(frozen=True)
class Stage:
    """Short words for what scenarios do."""

    api: ApiRuntime
    worker: WorkerRuntime
    owner: OwnerPool
    tenant: Tenant
    other_tenant: Tenant

    async def job(self, **changes: Any) -> JobId:
        return (await submit(self.api.jobs, self.tenant.id, **changes)).id

    async def claim(self, job_id: JobId) -> ClaimedJob | None:
        """None when PostgreSQL refuses, or says that it is not due."""
        claimed = await self.worker.jobs.group_commit.claim(job_id)
        return claimed if isinstance(claimed, ClaimedJob) else None

    async def running(self, **changes: Any) -> ClaimedJob:
        """A new job, claimed."""
        return await self.claimed(await self.job(**changes))

    async def claimed(self, job_id: JobId) -> ClaimedJob:
        claimed = await self.claim(job_id)
        assert claimed is not None
        return claimed

    async def called(self, run: ClaimedJob) -> bool:
        """Writes that the run's call goes out."""
        return await self.worker.jobs.group_commit.mark_called(Run(run.id, run.tenant_id, run.run_no))

    async def apply(self, run: ClaimedJob, transition: Transition, **more: Any) -> Applied | None:
        """With the guards that are named, and no others. Raises RowLocked."""
        return await self.worker.jobs.group_commit.apply(Change(run.id, run.tenant_id, transition, **more))

    async def finish(self, run: ClaimedJob, transition: Transition) -> Applied | None:
        """As the run's worker does."""
        return await self.apply(run, transition, run_no=run.run_no, lease_token=run.lease_token)

    async def succeed(self, run: ClaimedJob, **more: Any) -> Applied | None:
        """By the statement for answers that nobody hears of."""
        guards: dict[str, Any] = {"run_no": run.run_no, "lease_token": run.lease_token} | more
        change = Change(run.id, run.tenant_id, transitions.succeed(answer()), **guards)
        return await self.worker.jobs.group_commit.succeed(change)

    async def end(self, run: ClaimedJob) -> Applied:
        """Succeeds, with its webhooks."""
        applied = await self.apply(run, transitions.succeed(answer()), run_no=run.run_no, lease_token=run.lease_token)
        assert applied is not None
        return applied

    async def row(self, job_id: UUID) -> asyncpg.Record:
        found = await self.owner.fetchrow("SELECT * FROM jobs WHERE id = $1", job_id)
        assert found is not None
        return found

    async def attempts(self, job_id: UUID) -> list[asyncpg.Record]:
        return await self.owner.fetch("SELECT * FROM attempts WHERE job_id = $1 ORDER BY run_no", job_id)

    async def set(self, job_id: UUID, change: str) -> None:
        """Behind the product's back."""
        await self.owner.execute(f"UPDATE jobs SET {change} WHERE id = $1", job_id)

    async def lapse(self, job_id: UUID) -> None:
        """Its worker is dead."""
        await lose_worker(self.owner, job_id)

    def holds(self) -> Claims:
        """What one more worker would hold in Redis."""
        return open_claims(self.worker.redis, self.worker.keys, JOB_LANES, lease_seconds=30.0)

    async def enqueued(self) -> None:
        """Until Redis knows what was submitted and changed."""
        for runtime in (self.api, self.worker):
            await runtime.jobs.enqueuer.aclose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """That commits when its block ends."""
        async with hot_transaction(self.worker.database, None) as connection:
            yield connection

    async def in_transaction(self, change: Change) -> Applied | RowLocked | None:
        """On a connection of its own, so that it may wait for somebody's lock."""
        async with self.transaction() as connection:
            return (await store.apply(connection, [change]))[0]

    async def started(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Runs it until it has ended or waits for a lock."""
        task = asyncio.create_task(coroutine)
        await eventually(lambda: task.done() or self._somebody_waits(), what="it ends, or waits for a lock")
        return task

    async def _somebody_waits(self) -> bool:
        return bool(await self.owner.fetchval(_WAITING))
