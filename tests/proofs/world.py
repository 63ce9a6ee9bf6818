"""An API and two workers without their loops, on an event loop that a synchronous test turns step by step.

Hypothesis is synchronous; core is not. `open_world` opens the product's own runtimes on a loop of its own, so a rule
can do one thing (`world.run(...)`) and nothing else happens meanwhile.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import uvloop

from core.domain.ids import DeliveryId, JobId
from core.jobs.reconcile import Reconciler
from core.queue.claims import Claims, open_claims
from core.queue.keys import IN_PROGRESS, JOB_LANES, PAYLOAD, Lane, delivery_member, job_member
from core.runtime import ApiRuntime, WorkerRuntime, open_api, open_operator, open_worker
from core.settings import Settings
from tests.proofs.view import View, look
from tests.support.servers import owner_url
from tests.support.tenants import Tenant, make_tenant

Answer = TypeVar("Answer")
_TOUCH_REDIS = """
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('ZADD', KEYS[1], 0, member)
    redis.call('DEL', ARGV[1] .. member)
end
"""


@dataclass
class World:
    """What the machine's rules act on."""

    runner: asyncio.Runner
    settings: Settings
    api: ApiRuntime
    workers: tuple[WorkerRuntime, WorkerRuntime]
    tenants: tuple[Tenant, Tenant]
    owner: "asyncpg.Connection[asyncpg.Record]"
    claims: Claims = field(init=False)
    reconciler: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        worker = self.workers[0]
        self.claims = open_claims(worker.redis, worker.keys, JOB_LANES, self.settings.worker.lease_seconds)
        self.reconciler = Reconciler(worker.jobs)

    def run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return self.runner.run(coroutine)

    async def settle(self) -> None:
        """Until everything that was to be rung has been."""
        for runtime in (self.api, *self.workers):
            await runtime.jobs.ring.aclose()

    async def look(self) -> View:
        return await look(self.owner, [tenant.id for tenant in self.tenants])

    async def clean(self) -> None:
        """No jobs, no keys, nothing in Redis."""
        for table in ("jobs", "deleted_jobs", "idempotency"):
            await self.owner.execute(f"DELETE FROM {table}")
        await self.forget()

    async def forget(self) -> None:
        """Redis loses its memory."""
        redis, keys = self.workers[0].redis, self.workers[0].keys
        lanes = [keys.lane(lane) for lane in Lane]
        members = [member for lane in lanes for member in await redis.zrange(lane, 0, -1)]
        held = [prefix.encode() + member for member in members for prefix in (PAYLOAD, IN_PROGRESS)]
        await redis.delete(*lanes, keys.epoch, *held)

    async def let_redis_lapse(self) -> None:
        """As if the holds of every worker had run out, and every wait in Redis was over."""
        redis, keys = self.workers[0].redis, self.workers[0].keys
        for lane in Lane:
            await redis.eval(_TOUCH_REDIS, 1, keys.lane(lane), IN_PROGRESS)

    async def in_lane(self, lane: Lane, row_id: UUID) -> bool:
        """Whether Redis has a place in the queue for the row."""
        worker = self.workers[0]
        member = delivery_member(DeliveryId(row_id)) if lane is Lane.DELIVERIES else job_member(JobId(row_id))
        return await worker.redis.zscore(worker.keys.lane(lane), member) is not None

    async def keys_without_end(self) -> set[str]:
        """The keys of this world that Redis would keep for ever."""
        redis, keys = self.workers[0].redis, self.workers[0].keys
        names = [name async for name in redis.scan_iter(match=f"{keys.prefix}:*", count=1000)]
        members = [member for lane in Lane for member in await redis.zrange(keys.lane(lane), 0, -1)]
        names += [prefix.encode() + member for member in members for prefix in (PAYLOAD, IN_PROGRESS)]
        pipeline = redis.pipeline(transaction=False)
        for name in names:
            pipeline.pttl(name)
        lives = await pipeline.execute()
        return {name.decode(errors="replace") for name, life in zip(names, lives, strict=True) if life == -1}

    def documented_keys(self) -> set[str]:
        """Those that may live for ever (core/queue/keys.py)."""
        keys = self.workers[0].keys
        return {*map(keys.lane, Lane), keys.epoch}


@contextmanager
def open_world(settings: Settings) -> Iterator[World]:
    """On a loop of its own, which leaves pytest's alone."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()

        async def open_all() -> World:
            api = await stack.enter_async_context(open_api(settings))
            workers = [await stack.enter_async_context(open_worker(settings)) for _ in range(2)]
            operator = await stack.enter_async_context(open_operator(settings))
            tenants = await make_tenant(operator), await make_tenant(operator)
            owner = await asyncpg.connect(
                owner_url(settings.database), server_settings={"app.fleet": "on", "timezone": "UTC"}
            )
            stack.push_async_callback(owner.close)
            return World(runner, settings, api, (workers[0], workers[1]), tenants, owner)

        try:
            yield runner.run(open_all())
        finally:
            runner.run(stack.aclose())
