"""Redis forgets, dies or lies: jobs are late at worst, and no provider is asked twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from core.domain.ids import new_job_id
from core.domain.job_state import JobState, Priority
from core.jobs.reconcile import Reconciler
from core.queue.enqueue import job_entry
from core.queue.keys import PAYLOAD, Lane, job_member
from core.runtime import open_api, open_worker
from core.settings import Settings
from tests.conformance.fake_provider import FakeProvider
from tests.conftest import OwnerPool
from tests.queue.own_valkey import OwnValkey, on_valkey
from tests.support.processes import run_worker
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.worker.stage import WorkerStage


@pytest.fixture
def settings_here(quick: Settings, valkey: OwnValkey) -> Settings:
    """With a Redis that this test may break."""
    return on_valkey(quick, valkey, enqueue_timeout_seconds=0.2)


@pytest.fixture
async def here(
    settings_here: Settings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider
) -> AsyncIterator[WorkerStage]:
    async with open_api(settings_here) as api:
        yield WorkerStage(api, tenant, owner, fake)


async def each_asked_once(stage: WorkerStage, count: int) -> None:
    assert sorted(call.run_no for call in stage.fake.calls) == [1] * count
    assert len({call.job_id for call in stage.fake.calls}) == count


async def test_redis_forgets_everything_while_jobs_run_and_wait(
    here: WorkerStage, settings_here: Settings, valkey: OwnValkey, stack: AsyncExitStack
) -> None:
    """F7, F35: what runs is not started again, what waits is enqueued again."""
    few = settings_here.model_copy(update={"worker": settings_here.worker.model_copy(update={"concurrency": 10})})
    for _ in range(2):
        await stack.enter_async_context(run_worker(few))
    job_ids = [await here.submit("fake/ok:0.2") for _ in range(80)]
    async with valkey.client() as client:
        for seen in (20, 40, 60):
            await here.call(seen)
            await client.flushall()
    jobs = await here.all_ended(job_ids, seconds=40)
    assert {(job.state, job.attempts_used) for job in jobs} == {(JobState.SUCCEEDED, 1)}
    await each_asked_once(here, 80)
    await emptied(here)


async def test_redis_is_down_while_jobs_are_submitted(
    here: WorkerStage, settings_here: Settings, valkey: OwnValkey, stack: AsyncExitStack
) -> None:
    """F6: and comes back empty."""
    await valkey.kill()
    job_ids = [await here.submit() for _ in range(30)]
    await stack.enter_async_context(run_worker(settings_here))
    await valkey.start()
    jobs = await here.all_ended(job_ids)
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    await each_asked_once(here, 30)
    await emptied(here)


async def test_redis_is_restarted_while_jobs_run(
    here: WorkerStage, settings_here: Settings, valkey: OwnValkey, stack: AsyncExitStack
) -> None:
    """What ended meanwhile ended in PostgreSQL, and what was to be retried is."""
    await stack.enter_async_context(run_worker(settings_here))
    steady = [await here.submit("fake/ok:0.4") for _ in range(15)]
    flaky = [await here.submit("fake/flaky:1") for _ in range(5)]
    await here.call(10)
    await valkey.kill()
    await asyncio.gather(*map(here.ended, steady))
    await valkey.start()
    jobs = await here.all_ended(steady + flaky)
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert len(here.fake.calls) == 15 + 2 * 5
    await emptied(here)


async def test_what_postgresql_does_not_know_is_dropped(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """F4: enqueued, but never committed."""
    await stack.enter_async_context(run_worker(quick))
    await stage.api.jobs.enqueuer.enqueue_now([job_entry(new_job_id(), Lane.STANDARD) for _ in range(5)])
    await emptied(stage)
    assert stage.fake.calls == []


async def test_what_has_ended_is_not_run_again(stage: WorkerStage, quick: Settings, stack: AsyncExitStack) -> None:
    """F14, F21: a stale id, enqueued fifty times."""
    await stack.enter_async_context(run_worker(quick))
    job_id = await stage.submit()
    await stage.ended(job_id)
    for _ in range(50):
        await stage.api.jobs.enqueuer.enqueue_now([job_entry(job_id, lane) for lane in (Lane.STANDARD, Lane.BATCH)])
    await emptied(stage)
    assert (len(stage.fake.calls), (await stage.job(job_id)).state) == (1, JobState.SUCCEEDED)


@pytest.mark.parametrize("damage", ["no member", "no payload", "another day"])
async def test_a_damaged_queue_is_mended(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack, damage: str
) -> None:
    """F8, F22: part of what Redis knew of a waiting job is gone or wrong."""
    runtime = await stack.enter_async_context(open_worker(quick))
    await Reconciler(runtime.jobs).reconcile()
    job_id = await stage.submit()
    redis, lane, member = stage.api.redis, stage.api.keys.lane(Lane.STANDARD), job_member(job_id)
    await eventually(lambda: redis.zscore(lane, member))
    match damage:
        case "no member":
            await redis.zrem(lane, member)
        case "no payload":
            await redis.delete(PAYLOAD + member)
        case "another day":
            await redis.zadd(lane, {member: 4e12})
    await stack.enter_async_context(run_worker(quick))
    assert (await stage.ended(job_id)).state == JobState.SUCCEEDED
    await each_asked_once(stage, 1)


async def test_a_rebuilt_queue_has_every_job_in_its_lane(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """F35: once the epoch is marked, what is there is left alone."""
    runtime = await stack.enter_async_context(open_worker(quick))
    redis, keys = stage.api.redis, stage.api.keys
    wanted = {priority: {await stage.submit(priority=priority) for _ in range(3)} for priority in Priority}
    await stage.submit(run_at=(await stage.owner.fetchval("SELECT now() + interval '1 hour'")))

    await eventually(lambda: has_members(stage, 10))
    await redis.delete(*[keys.lane(lane) for lane in Lane])
    assert await Reconciler(runtime.jobs).reconcile() == 9
    for priority, job_ids in wanted.items():
        members = {member.decode() for member in await redis.zrange(keys.lane(Lane(priority.value)), 0, -1)}
        assert members == {job_member(job_id) for job_id in job_ids}
    assert await redis.exists(keys.epoch) == 1
    assert await Reconciler(runtime.jobs).reconcile() == 0


async def has_members(stage: WorkerStage, count: int) -> bool:
    redis, keys = stage.api.redis, stage.api.keys
    return sum([int(await redis.zcard(keys.lane(lane))) for lane in Lane]) == count


async def emptied(stage: WorkerStage) -> None:
    await eventually(lambda: has_members(stage, 0), what="the lanes are empty")
