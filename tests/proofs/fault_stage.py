"""The stage of the proofs that let one job meet a fault: the common one, a worker, a provider and a receiver.

It runs a job with a plan of faults, lets the leases expire, and then lets one healthy worker finish what was left.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from core.domain.ids import JobId
from core.jobs.reconcile import Reconciler
from core.jobs.sweep import expire_jobs, rescue_jobs
from core.queue.keys import Keys
from core.runtime import WorkerRuntime, open_api, open_worker
from core.settings import DatabaseSettings, Settings
from tests.conformance.fake_provider import FakeProvider
from tests.conftest import MakeSettings, OwnerPool
from tests.proofs.edges import Plan
from tests.proofs.evidence import Evidence, left_in_redis
from tests.proofs.fresh import fresh_worker
from tests.proofs.lapse import lapse_leases, lapse_redis, merge_lanes
from tests.proofs.one_job import Setting, one_turn, run_one_job
from tests.support.processes import run_worker
from tests.support.receiver import Receiver, receive
from tests.support.stage import Stage
from tests.support.tenants import Tenant
from tests.support.view import look
from tests.support.waiting import eventually
from tests.support.workers import enlist
from worker.lifecycle import make_workers


@dataclass(frozen=True)
class FaultStage(Stage):
    """`api` and `worker` have connections for many jobs side by side. `setting` is where each job goes."""

    settings: Settings
    worker: WorkerRuntime
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

    async def a_healthy_worker_ends(self, job_ids: Sequence[JobId]) -> Evidence:
        """The real one, with all its loops."""

        async def all_over() -> bool:
            evidence = await self.evidence()
            return all(evidence.is_over(job_id) for job_id in job_ids)

        async def nothing_left() -> bool:
            return not await left_in_redis(self.worker.redis, self.worker.keys, job_ids)

        async with run_worker(self.settings):
            await eventually(all_over, seconds=20, what="a healthy worker ends every job")
            await eventually(nothing_left, what="Redis forgets the jobs")
        return await self.evidence()

    async def until_over(self, job_id: JobId) -> None:
        """Whoever is at work."""

        async def is_over() -> bool:
            return (await self.evidence()).is_over(job_id)

        await eventually(is_over, what="a healthy worker ends the job")

    async def repair(self, job_id: JobId) -> None:
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
            return (await self.evidence()).is_over(job_id)

        await eventually(is_over, what="a sweep and a worker end the job")

    async def evidence(self) -> Evidence:
        return Evidence(await look(self.owner, [self.setting.tenant.id]), self.fake, self.receiver)

    def _keys(self, number: int) -> Keys:
        return Keys(f"{self.settings.redis.prefix}-{number}")


@asynccontextmanager
async def open_fault_stage(
    make_settings: MakeSettings, database: DatabaseSettings, tenant: Tenant, owner: OwnerPool
) -> AsyncIterator[FaultStage]:
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
        yield FaultStage(api, tenant, owner, settings, worker, Setting(tenant, "fake/ok", receiver.url), fake, receiver)


async def side_by_side(stage: FaultStage, plans: Sequence[Plan], *, first: int) -> list[JobId]:
    """One run for each plan, some of them at a time."""
    free = asyncio.Semaphore(8)

    async def run(number: int, plan: Plan) -> JobId:
        async with free:
            return await stage.run(number, plan)

    return await asyncio.gather(*[run(number, plan) for number, plan in enumerate(plans, start=first)])
