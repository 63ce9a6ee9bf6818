"""A lane holds so many ids: what is left out is counted, a small tenant still gets in, and the sweep adds the rest."""

import uuid

from core.domain.ids import TenantId, new_job_id
from core.domain.run_again import AT_FRONT, DONE, NOW, After, AtFront
from core.jobs.reconcile import Reconciler
from core.observability.metrics import REGISTRY
from core.queue.claims import Finished
from core.queue.connect import RedisClient
from core.queue.enqueue import Enqueuer, QueueEntry, job_entry
from core.queue.keys import Lane
from core.runtime import open_api, open_worker
from tests.conftest import MakeSettings, MakeTenant
from tests.queue.lanes import Lanes
from tests.support.jobs import submit
from tests.support.waiting import eventually
from tests.support.workers import enlist

LANE = Lane.STANDARD


def left_out() -> float:
    return REGISTRY.get_sample_value("inferd_enqueued_total", {"outcome": "lane_full"}) or 0.0


def entries(tenant: TenantId, count: int, when: AtFront | After = NOW) -> list[QueueEntry]:
    return [job_entry(new_job_id(), LANE, when, tenant_id=tenant) for _ in range(count)]


def limited(lanes: Lanes, limit: int) -> Enqueuer:
    enqueuer = lanes.enqueuer
    return Enqueuer(enqueuer.redis, enqueuer.keys, enqueuer.timeout, limit, enqueuer.scripts)


async def test_a_full_lane_refuses_a_floods_ids_and_takes_a_quiet_tenants(lanes: Lanes) -> None:
    enqueuer, flood, quiet = limited(lanes, 200), TenantId(uuid.uuid4()), TenantId(uuid.uuid4())
    before = left_out()
    made = entries(flood, 300)
    assert await enqueuer.enqueue_now(made) == 100
    assert left_out() == before + 100
    assert not await enqueuer.has_room(LANE)
    # What is there keeps its place, what is put before all is let in, and so is who has little waiting.
    assert await enqueuer.enqueue_now(made[:200]) == 0
    assert await enqueuer.enqueue_now(entries(flood, 1, AT_FRONT)) == 0
    assert await enqueuer.enqueue_now(entries(quiet, 20)) == 0
    assert await enqueuer.enqueue_now(entries(flood, 1)) == 1
    # Up to a quarter more.
    assert await enqueuer.enqueue_now(entries(TenantId(uuid.uuid4()), 40)) == 11
    assert await lanes.redis.zcard(lanes.keys.lane(LANE)) == 250
    acquired = (await lanes.claims().claim([0, 100, 0])).acquired
    await lanes.claims().finish([Finished(each, DONE) for each in acquired])
    assert await enqueuer.enqueue_now(made[200:250]) == 0


async def test_the_sweep_adds_what_a_lane_left_out_and_each_tenants_first(
    make_settings: MakeSettings, new_tenant: MakeTenant
) -> None:
    settings = make_settings(redis={"lane_limit": 100})
    async with open_api(settings) as api, open_worker(settings) as worker:
        await enlist(worker)
        greedy, quiet = await new_tenant(), await new_tenant()
        made = [(await submit(api.jobs, greedy.id)).id for _ in range(130)]
        last = (await submit(api.jobs, quiet.id)).id
        lane, redis = worker.keys.lane(LANE), worker.redis
        await eventually(lambda: _size(redis, lane, 101))
        await redis.zrem(lane, f"job_{last.hex}")
        reconciler = Reconciler(worker.jobs)
        # Full of the other's, and found all the same.
        assert await reconciler.reconcile() == 1
        assert await redis.zscore(lane, f"job_{last.hex}") is not None
        assert await reconciler.reconcile() == 0
        await redis.zrem(lane, *[f"job_{each.hex}" for each in made[:50]])
        for each in made[:50]:
            await worker.jobs.group_commit.claim(each)
        assert await reconciler.reconcile() == 30
        assert await reconciler.reconcile() == 0
        assert await redis.zcard(lane) == 81


async def _size(redis: RedisClient, lane: str, size: int) -> bool:
    return int(await redis.zcard(lane)) == size
