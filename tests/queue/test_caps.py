"""Caps: what one tenant may use of the fleet's slots, and that its backlog neither blocks others nor gets lost."""

import uuid
from contextlib import AsyncExitStack

import pytest

from core.domain.ids import TenantId, new_job_id
from core.domain.run_again import AT_FRONT, DONE, NOW, After, AtFront
from core.queue.claims import Acquired, Claims, Finished
from core.queue.enqueue import QueueEntry, job_entry
from core.queue.fleet import Fleet, TenantCaps
from core.queue.keys import JOB_LANES, Keys, Lane
from core.queue.lua_text import LINGER_MS, MAX_PARKED
from tests.queue.lanes import LEASE_SECONDS, Lanes, Runs
from tests.support.waiting import eventually

LANE = Lane.STANDARD


def new_tenant() -> TenantId:
    return TenantId(uuid.uuid4())


def entries(tenant: TenantId, count: int, lane: Lane = LANE, when: AtFront | After = NOW) -> list[QueueEntry]:
    return [job_entry(new_job_id(), lane, when, tenant_id=tenant) for _ in range(count)]


async def enqueue(
    lanes: Lanes, tenant: TenantId, count: int, lane: Lane = LANE, when: AtFront | After = NOW
) -> list[str]:
    made = entries(tenant, count, lane, when)
    await lanes.enqueuer.enqueue_now(made)
    return [each.member for each in made]


def capped(lanes: Lanes, cap: int, lease_seconds: float = LEASE_SECONDS) -> Claims:
    """Of a fleet in which `cap` slots are a tenant's share."""
    return lanes.claims(lease_seconds, caps=TenantCaps(0.5, Fleet(slots=cap * 2, tenants=2)))


async def taken(claims: Claims, count: int) -> list[Acquired]:
    return (await claims.claim([0, count, 0])).acquired


def test_a_share_is_of_the_fleets_slots_and_for_who_is_not_alone() -> None:
    one, own = new_tenant(), new_tenant()
    assert TenantCaps(0.8, Fleet(slots=30, tenants=2)).of(one) == 24
    assert TenantCaps(0.8, Fleet(slots=1, tenants=2)).of(one) == 1
    for fleet in (Fleet(slots=30, tenants=1), Fleet(slots=0, tenants=2)):
        assert TenantCaps(0.8, fleet).of(one) is None
    assert TenantCaps(1.0, Fleet(slots=30, tenants=2)).of(one) is None
    caps = TenantCaps(0.8, Fleet(slots=30, tenants=1, max_slots={own: 3}))
    assert (caps.of(own), caps.of(one), caps.are_counted) == (3, None, True)
    assert not TenantCaps(0.8, Fleet(slots=30, tenants=1)).are_counted


async def test_one_tenants_hanging_calls_leave_slots_to_another(lanes: Lanes, stack: AsyncExitStack) -> None:
    """Three workers of ten slots, and 300 calls that never end: the next tenant's job starts at once."""
    runs, caps = Runs(), TenantCaps(0.8, Fleet(slots=30, tenants=2))
    runs.may_end.clear()
    for _ in range(3):
        await stack.enter_async_context(lanes.worker(runs, caps=caps))
    greedy = new_tenant()
    hanging = await enqueue(lanes, greedy, 300, Lane.INTERACTIVE)
    await runs.until(lambda: len(runs.running) == 24)
    for _ in range(3):
        (quiet,) = await enqueue(lanes, new_tenant(), 1, Lane.INTERACTIVE)
        await runs.until(lambda quiet=quiet: quiet in runs.running)  # type: ignore[misc]
    assert len(runs.running & set(hanging)) == 24
    runs.may_end.set()
    await runs.until(lambda: set(runs.members) >= set(hanging))
    assert len(runs.members) == 303


async def test_a_capped_tenants_jobs_go_on_one_by_one_in_their_order(lanes: Lanes) -> None:
    claims, tenant = capped(lanes, 2), new_tenant()
    members = await enqueue(lanes, tenant, 6)
    running = await taken(claims, 10)
    for turn in range(4):
        assert [each.member for each in running] == members[turn : turn + 2]
        assert await taken(claims, 10) == []
        await claims.finish([Finished(running.pop(0), DONE)])
        running += await taken(claims, 10)
    # The last of them leaves nothing behind but the memory that it ran.
    await claims.finish([Finished(each, DONE) for each in running])
    left = [key.decode() async for key in lanes.redis.scan_iter(match=f"{lanes.keys.prefix}:*")]
    assert set(left) <= {f"{lanes.keys.group(LANE)}:flows"}
    assert 0 < await lanes.redis.pttl(f"{lanes.keys.group(LANE)}:flows") <= LEASE_SECONDS * 1000 + LINGER_MS


async def test_a_backlog_at_its_cap_does_not_stand_before_others(lanes: Lanes) -> None:
    """It is put aside once; a claim that met too much of it says that it wants to look again at once."""
    claims = capped(lanes, 1)
    await enqueue(lanes, new_tenant(), MAX_PARKED * 2)
    assert len(await taken(claims, 1)) == 1
    await enqueue(lanes, new_tenant(), 1, Lane.BATCH)
    first = await claims.claim([0, 1, 0])
    assert (first.acquired, first.due_in) == ([], 0)
    assert [each.lane for each in (await claims.claim([0, 1, 0])).acquired] == [Lane.BATCH]
    assert await lanes.redis.zcard(lanes.keys.lane(LANE)) == 1


async def test_what_is_parked_is_known_and_keeps_its_place(lanes: Lanes) -> None:
    claims, tenant = capped(lanes, 1), new_tenant()
    made = entries(tenant, 5)
    await lanes.enqueuer.enqueue_now(made)
    (running,) = await taken(claims, 10)
    assert await lanes.members() == [running.member]
    assert await lanes.enqueuer.missing(LANE, made) == []
    await lanes.enqueuer.enqueue_now(made[1:])
    assert await lanes.members() == [running.member]
    await claims.finish([Finished(running, DONE)])
    assert [each.member for each in await taken(claims, 10)] == [made[1].member]


async def test_what_comes_for_a_tenant_at_its_cap_is_parked_and_wakes_nobody(lanes: Lanes) -> None:
    claims, tenant = capped(lanes, 1), new_tenant()
    await enqueue(lanes, tenant, 2)
    await taken(claims, 10)
    (later,) = await enqueue(lanes, tenant, 1)
    assert later not in await lanes.members()
    (rescued,) = await enqueue(lanes, tenant, 1, when=AT_FRONT)
    assert rescued in await lanes.members()
    assert await taken(claims, 10) == []


async def test_a_dead_workers_slots_come_back_with_the_end_of_its_holds(lanes: Lanes) -> None:
    tenant = new_tenant()
    members = await enqueue(lanes, tenant, 4)
    assert len(await taken(capped(lanes, 2, lease_seconds=0.2), 10)) == 2
    claims = capped(lanes, 2)

    async def others() -> bool:
        return len({each.member for each in await taken(claims, 10)}) == 2

    await eventually(others, what="two run elsewhere")
    assert await lanes.enqueuer.missing(LANE, [job_entry(new_job_id(), LANE, tenant_id=tenant)]) != []
    parked = await lanes.redis.zcard(lanes.keys.parked(LANE, tenant.hex))
    assert len(members) == parked + await lanes.redis.zcard(lanes.keys.lane(LANE))


async def test_a_heartbeat_keeps_the_slots_counted(lanes: Lanes) -> None:
    tenant, short = new_tenant(), capped(lanes, 1, lease_seconds=0.3)
    await enqueue(lanes, tenant, 2)
    held = await taken(short, 10)
    await capped(lanes, 1, lease_seconds=30).renew(held)
    seconds, _ = await lanes.redis.time()
    until = await lanes.redis.zscore(f"{lanes.keys.group(LANE)}:busy:{tenant.hex}", held[0].member)
    assert until > (int(seconds) + 20) * 1000


@pytest.mark.parametrize("fleet", [Fleet(slots=40, tenants=2), Fleet(slots=2, tenants=1)])
async def test_a_cap_that_rises_or_ends_lets_more_run(lanes: Lanes, fleet: Fleet) -> None:
    claims = capped(lanes, 1)
    await enqueue(lanes, new_tenant(), 5)
    assert len(await taken(claims, 10)) == 1
    claims.caps.set(fleet)
    more: list[Acquired] = []

    async def all_run() -> bool:
        more.extend(await taken(claims, 10))
        return len(more) == 4

    await eventually(all_run, what="the others run")


async def test_a_tenants_own_cap_counts_over_all_lanes(lanes: Lanes) -> None:
    tenant, claims = new_tenant(), lanes.claims()
    claims.caps.set(Fleet(slots=10, tenants=1, max_slots={tenant: 3}))
    for lane in JOB_LANES:
        await enqueue(lanes, tenant, 2, lane)
    await enqueue(lanes, new_tenant(), 5)
    acquired = (await claims.claim([8, 8, 8])).acquired
    assert sum(each.flow == tenant.hex for each in acquired) == 3
    assert len(acquired) == 8


async def test_nothing_is_counted_for_a_tenant_alone(lanes: Lanes) -> None:
    claims = lanes.claims()
    claims.caps.set(Fleet(slots=10, tenants=1))
    await enqueue(lanes, new_tenant(), 5)
    held = await taken(claims, 10)
    await claims.renew(held)
    group = lanes.keys.group(LANE)
    assert [key async for key in lanes.redis.scan_iter(match=f"{group}:*")] == []


async def test_everything_but_the_lanes_has_an_end(lanes: Lanes, keys: Keys) -> None:
    claims = capped(lanes, 1)
    await enqueue(lanes, new_tenant(), 3)
    await taken(claims, 10)
    names = {name.decode() async for name in lanes.redis.scan_iter(match=f"{keys.prefix}:*")}
    assert {name.removeprefix(keys.prefix).split(":")[2] for name in names if ":jobs:" in name} == {
        "busy",
        "flows",
        "parked",
    }
    for name in names - {keys.lane(LANE)}:
        assert await lanes.redis.pttl(name) > 0, name
