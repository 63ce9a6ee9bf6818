"""An API, a worker, a provider and a receiver, for jobs that meet faults; and how one healthy worker mends them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from core.domain.ids import JobId
from core.jobs.reconcile import Reconciler
from core.jobs.sweep import expire_jobs, rescue_jobs
from core.queue.keys import Keys
from core.runtime import ApiRuntime, WorkerRuntime, open_api, open_worker
from core.settings import DatabaseSettings, Settings
from tests.conformance.fake_provider import FakeProvider
from tests.conftest import MakeSettings, OwnerPool
from tests.proofs.correct_end import Witnesses, left_in_redis
from tests.proofs.edges import Plan
from tests.proofs.fresh import fresh_worker
from tests.proofs.lapse import lapse_leases, lapse_redis, merge_lanes
from tests.proofs.one_job import Setting, one_turn, run_one_job
from tests.proofs.view import look
from tests.support.processes import run_worker
from tests.support.receiver import Receiver, receive
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.support.workers import enlist
from worker.lifecycle import make_workers


@dataclass(frozen=True)
class FaultScene:
    """`api` and `worker` have connections for many jobs side by side."""

    settings: Settings
    api: ApiRuntime
    worker: WorkerRuntime
    owner: OwnerPool
    setting: Setting
    fake: FakeProvider
    receiver: Receiver

    async def run(self, number: int, plan: Plan) -> JobId:
        """One job on lanes of its own."""
        return await run_one_job(self.api, self.worker, self.setting, self._keys(number).prefix, plan)

    async def time_passes(self, runs: int) -> None:
        """Leases run out, and what `runs` runs left in their lanes is found by whoever serves the usual ones."""
        await merge_lanes(self.worker.redis, self.worker.keys, [self._keys(number) for number in range(runs)])
        await lapse_leases(self.owner)
        await lapse_redis(self.worker.redis, self.worker.keys)

    async def a_healthy_worker_ends(self, job_ids: Sequence[JobId]) -> Witnesses:
        """The real one, with all its loops."""

        async def all_over() -> bool:
            witnesses = await self.witnesses()
            return all(witnesses.is_over(job_id) for job_id in job_ids)

        async def nothing_left() -> bool:
            return not await left_in_redis(self.worker.redis, self.worker.keys, job_ids)

        async with run_worker(self.settings):
            await eventually(all_over, seconds=20, what="a healthy worker ends every job")
            await eventually(nothing_left, what="Redis forgets the jobs")
        return await self.witnesses()

    async def until_over(self, job_id: JobId) -> None:
        """Whoever is at work."""

        async def is_over() -> bool:
            return (await self.witnesses()).is_over(job_id)

        await eventually(is_over, what="a healthy worker ends the job")

    async def mend(self, job_id: JobId) -> None:
        """A sweep, and turns of a worker, one after the other: for one job among processes that come and go."""

        async def is_over() -> bool:
            await self.time_passes(0)
            worker = fresh_worker(self.worker)
            workers = make_workers(worker)
            await rescue_jobs(worker.jobs)
            await expire_jobs(worker.jobs)
            await Reconciler(worker.jobs).reconcile()
            for part in (workers.jobs, workers.deliveries):
                await one_turn(part, Plan())
                await worker.jobs.enqueuer.aclose()
            return (await self.witnesses()).is_over(job_id)

        await eventually(is_over, what="a sweep and a worker end the job")

    async def witnesses(self) -> Witnesses:
        return Witnesses(await look(self.owner, [self.setting.tenant.id]), self.fake, self.receiver)

    def _keys(self, number: int) -> Keys:
        return Keys(f"{self.settings.redis.prefix}-{number}")


@asynccontextmanager
async def open_scene(
    make_settings: MakeSettings, database: DatabaseSettings, tenant: Tenant, owner: OwnerPool
) -> AsyncIterator[FaultScene]:
    """On the suite's servers."""
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeProvider())
        receiver = await stack.enter_async_context(receive(tenant.webhook_secret))
        settings = make_settings(
            database=database.model_copy(update={"pool_size": 24}),
            worker={"lease_seconds": 30.0, "heartbeat_seconds": 1.0, "sweep_seconds": 0.25},
            providers={"fake": {"base_url": fake.base_url}},
            webhook={
                "allow_http": True,
                "allow_cidrs": ["127.0.0.0/8"],
                "retry_seconds": [0.05] * 9,
                # Deliveries that are left half sent take up room until their leases run out.
                "per_endpoint": 1000,
                "per_host": 1000,
            },
        )
        api = await stack.enter_async_context(open_api(settings))
        worker = await stack.enter_async_context(open_worker(settings))
        await enlist(worker)
        yield FaultScene(settings, api, worker, owner, Setting(tenant, "fake/ok", receiver.url), fake, receiver)


async def side_by_side(scene: FaultScene, plans: Sequence[Plan], *, first: int) -> list[JobId]:
    """One run for each plan, some of them at a time."""
    free = asyncio.Semaphore(8)

    async def run(number: int, plan: Plan) -> JobId:
        async with free:
            return await scene.run(number, plan)

    return await asyncio.gather(*[run(number, plan) for number, plan in enumerate(plans, start=first)])
