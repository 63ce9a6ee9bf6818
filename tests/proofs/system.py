"""An API and two workers without their loops, on an event loop that a synchronous test turns step by step.

Hypothesis is synchronous; core is not. `open_system` opens the product's own runtimes on a loop of its own, so a rule
can do one thing (`system.run(...)`) and nothing else happens meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import asyncpg
import uvloop

from core.domain.ids import DELIVERY, DeliveryId, JobId, parse
from core.jobs.reconcile import Reconciler
from core.queue.claims import Claims, open_claims
from core.queue.keys import JOB_LANES, Lane, delivery_member, job_member
from core.runtime import ApiRuntime, WorkerRuntime, open_api, open_operator, open_worker
from core.settings import Settings
from tests.proofs.lapse import lapse_redis
from tests.support.aftermath import empty_queue
from tests.support.invariants import keys_without_end
from tests.support.servers import owner_url
from tests.support.tenants import Tenant, make_tenant
from tests.support.view import View, look
from tests.support.workers import enlist

Answer = TypeVar("Answer")
_PLACE = """
SELECT job_id, (
    SELECT count(*) FROM deliveries AS earlier
    WHERE earlier.job_id = delivery.job_id AND (earlier.created_at, earlier.id) < (delivery.created_at, delivery.id)
) AS place
FROM deliveries AS delivery WHERE id = $1
"""


@dataclass
class System:
    """What the machine's rules act on."""

    runner: asyncio.Runner
    settings: Settings
    api: ApiRuntime
    workers: tuple[WorkerRuntime, WorkerRuntime]
    tenants: tuple[Tenant, Tenant]
    owner: "asyncpg.Connection[asyncpg.Record]"
    claims: Claims = field(init=False)
    delivery_claims: Claims = field(init=False)
    reconciler: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        worker = self.workers[0]
        lease = self.settings.worker.lease_seconds
        self.claims = open_claims(worker.redis, worker.keys, JOB_LANES, lease)
        self.delivery_claims = open_claims(worker.redis, worker.keys, [Lane.DELIVERIES], lease)
        self.reconciler = Reconciler(worker.jobs)

    def run(self, awaitable: Awaitable[Answer]) -> Answer:
        async def wait() -> Answer:
            return await awaitable

        return self.runner.run(wait())

    async def look(self) -> View:
        """PostgreSQL, when everything that was to be enqueued has been."""
        for runtime in (self.api, *self.workers):
            await runtime.jobs.enqueuer.aclose()
        return await look(self.owner, [tenant.id for tenant in self.tenants])

    async def clean(self) -> None:
        """No jobs, no keys, nothing in Redis."""
        for table in ("deliveries", "jobs", "deleted_jobs", "idempotency"):
            await self.owner.execute(f"DELETE FROM {table}")
        await self.forget()

    async def forget(self) -> None:
        """Redis loses its memory."""
        await empty_queue(self.workers[0].redis, self.workers[0].keys)

    async def let_redis_lapse(self) -> None:
        """As if the holds of every worker had run out, and every wait in Redis was over."""
        await lapse_redis(self.workers[0].redis, self.workers[0].keys)

    async def in_lane(self, lane: Lane, row_id: UUID) -> bool:
        """Whether Redis has a place in the queue for the row."""
        worker = self.workers[0]
        member = delivery_member(DeliveryId(row_id)) if lane is Lane.DELIVERIES else job_member(JobId(row_id))
        return await worker.redis.zscore(worker.keys.lane(lane), member) is not None

    async def place_of(self, member: str) -> tuple[UUID, int] | None:
        """Whose delivery this is, and which of that job's; None for one that is gone."""
        row = await self.owner.fetchrow(_PLACE, parse(DELIVERY, member))
        return None if row is None else (row["job_id"], row["place"])

    async def keys_without_end(self) -> set[str]:
        """The keys of this system that Redis would keep for ever, and should not."""
        return await keys_without_end(self.workers[0].redis, self.workers[0].keys)


@contextmanager
def open_system(settings: Settings) -> Iterator[System]:
    """On a loop of its own, which leaves pytest's alone."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()

        async def open_all() -> System:
            api = await stack.enter_async_context(open_api(settings))
            workers = [await stack.enter_async_context(open_worker(settings)) for _ in range(2)]
            for worker in workers:
                await enlist(worker)
            operator = await stack.enter_async_context(open_operator(settings))
            tenants = await make_tenant(operator), await make_tenant(operator)
            owner = await asyncpg.connect(
                owner_url(settings.database), server_settings={"app.fleet": "on", "timezone": "UTC"}
            )
            stack.push_async_callback(owner.close)
            return System(runner, settings, api, (workers[0], workers[1]), tenants, owner)

        try:
            yield runner.run(open_all())
        finally:
            runner.run(stack.aclose())
