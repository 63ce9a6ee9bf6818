"""Redis is gone, read-only or full for long: workers ask PostgreSQL for due jobs and deliveries, and start them."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from core.domain.ids import JobId, TenantId, new_job_id, new_uuid
from core.domain.job_state import JobState
from core.jobs.fallback import DueJobs, Waiting, choose
from core.queue import fallback
from core.queue.fleet import Fleet, TenantCaps
from core.queue.keys import JOB_LANES
from core.runtime import WorkerRuntime, open_api
from core.settings import Settings
from tests.conformance.fake_provider import FakeProvider
from tests.conftest import MakeTenant, OwnerPool
from tests.queue.own_valkey import OwnValkey, on_valkey
from tests.support.jobs import claim, insert
from tests.support.processes import run_worker
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.worker.stage import WorkerStage

pytestmark = pytest.mark.untidy


@pytest.fixture
def settings_here(quick: Settings, valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """With a Redis that this test may break."""
    monkeypatch.setattr(fallback, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(fallback, "_PACE_SECONDS", 0.2)
    return on_valkey(quick, valkey, enqueue_timeout_seconds=0.2)


@pytest.fixture
async def here(
    settings_here: Settings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider
) -> AsyncIterator[WorkerStage]:
    async with open_api(settings_here) as api:
        yield WorkerStage(api, tenant, owner, fake)


async def fill(client: Redis) -> None:
    await client.config_set("maxmemory", 1)


async def demote(client: Redis) -> None:
    await client.replicaof("127.0.0.1", "1")


async def repair(client: Redis) -> None:
    await client.config_set("maxmemory", 0)
    await client.replicaof("NO", "ONE")


@pytest.mark.parametrize("refuse_writes", [fill, demote])
async def test_jobs_start_while_redis_takes_no_writes(
    here: WorkerStage,
    settings_here: Settings,
    valkey: OwnValkey,
    stack: AsyncExitStack,
    refuse_writes: Callable[[Redis], Awaitable[None]],
) -> None:
    for _ in range(2):
        await stack.enter_async_context(run_worker(settings_here))
    async with valkey.client() as client:
        await refuse_writes(client)
        job_ids = [
            await here.submit(webhook_url="https://127.0.0.1:1/", webhook_events=("job.succeeded",)) for _ in range(10)
        ]
        job_ids += [await here.submit("fake/flaky:1")]
        assert {job.state for job in await here.all_ended(job_ids)} == {JobState.SUCCEEDED}
        await eventually(lambda: attempted(here, 10), what="their webhooks are sent")
        await repair(client)
    assert len(here.fake.calls) == 12
    (last,) = [await here.submit()]
    await here.ended(last)


async def attempted(stage: WorkerStage, count: int) -> bool:
    """Their receiver is an address that may not be called; an attempt is an attempt."""
    return int(await stage.owner.fetchval("SELECT count(*) FROM delivery_attempts")) >= count


async def test_jobs_start_while_redis_is_gone_and_are_not_run_again_after(
    here: WorkerStage, settings_here: Settings, valkey: OwnValkey, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(run_worker(settings_here))
    await here.ended(await here.submit())
    await valkey.kill()
    job_ids = [await here.submit() for _ in range(10)]
    await here.all_ended(job_ids)
    running = await here.submit("fake/ok:1.5")
    await here.call(11)
    await valkey.start()
    await here.ended(running)
    await here.ended(await here.submit())
    assert sorted(call.run_no for call in here.fake.calls) == [1] * 13


def waiting(count: int, running: int = 0) -> Waiting:
    return Waiting(TenantId(new_uuid()), [new_job_id() for _ in range(count)], running)


def test_what_is_chosen_is_fair_and_under_the_caps() -> None:
    flood, quiet, busy = waiting(50), waiting(2), waiting(50, running=9)
    caps = TenantCaps(0.5, Fleet(slots=20, tenants=3))
    rng = random.Random(1)  # noqa: S311 - no secret
    chosen = choose([flood, quiet, busy], 10, caps, rng)

    def of(line: Waiting) -> int:
        return sum(each in line.job_ids for each in chosen)

    assert (of(flood), of(quiet), of(busy)) == (7, 2, 1)
    assert len(choose([flood], 100, caps, rng)) == 10


async def test_the_source_takes_turns_between_tenants_and_lanes(
    worker_runtime: WorkerRuntime, new_tenant: MakeTenant
) -> None:
    tenants = [await new_tenant() for _ in range(3)]
    ids: dict[JobId, TenantId] = {}
    async with worker_runtime.database.pool.acquire() as connection:
        for tenant, count in zip(tenants, (30, 3, 3), strict=True):
            for _ in range(count):
                ids[await insert(connection, tenant.id)] = tenant.id
        await claim(connection, list(ids)[:5])
    caps = TenantCaps(0.5, Fleet(slots=12, tenants=3))
    source = DueJobs(worker_runtime.database, caps)
    named = {member: lane for lane, member in await source(6)}
    owners = [ids[each] for each in ids if f"job_{each.hex}" in named]
    # The first one has five running of its six.
    assert sorted(owners.count(tenant.id) for tenant in tenants) == [1, 2, 3]
    assert owners.count(tenants[0].id) == 1
    assert set(named.values()) == {JOB_LANES[1]}
