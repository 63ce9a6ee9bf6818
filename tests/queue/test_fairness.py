"""Whose turn it is: tenants share a lane evenly, however many jobs one of them has, and each in its own order."""

import asyncio
import uuid
from collections import Counter

from core.domain.ids import TenantId, new_job_id
from core.domain.run_again import AT_FRONT, DONE, NOW, After, AtFront
from core.queue.claims import Claims, Finished
from core.queue.enqueue import job_entry
from core.queue.keys import Lane, job_member
from core.queue.lua_text import LINGER_MS
from core.queue.shares import kept_free
from tests.queue.lanes import LEASE_SECONDS, Lanes, Runs
from tests.support.waiting import eventually

LANE = Lane.STANDARD


def new_tenant() -> TenantId:
    return TenantId(uuid.uuid4())


async def enqueue(lanes: Lanes, tenant: TenantId, count: int, when: AtFront | After = NOW) -> list[str]:
    ids = [new_job_id() for _ in range(count)]
    await lanes.enqueuer.enqueue_now([job_entry(each, LANE, when, tenant_id=tenant) for each in ids])
    return [job_member(each) for each in ids]


async def claim(claims: Claims, count: int) -> list[str]:
    acquired = (await claims.claim([0, count, 0])).acquired
    return [each.member for each in acquired]


async def make_due(lanes: Lanes, members: list[str]) -> None:
    """As if the time that they wait for had come."""
    seconds, _ = await lanes.redis.time()
    await lanes.redis.zadd(lanes.keys.lane(LANE), dict.fromkeys(members, int(seconds) * 1000 - 1))


async def test_a_flood_waits_behind_itself_alone(lanes: Lanes) -> None:
    flood = await enqueue(lanes, new_tenant(), 1000)
    assert await claim(lanes.claims(), 20) == flood[:20]
    (quiet,) = await enqueue(lanes, new_tenant(), 1)
    assert quiet in await claim(lanes.claims(), 2)


async def test_tenants_take_turns_each_in_its_own_order(lanes: Lanes) -> None:
    lines = [await enqueue(lanes, new_tenant(), count) for count in (300, 200, 100)]
    served = [await claim(lanes.claims(), 7) for _ in range(30)]
    flat = [member for batch in served for member in batch]
    owner = {member: number for number, line in enumerate(lines) for member in line}
    assert Counter(owner[member] for member in flat) == {0: 70, 1: 70, 2: 70}
    for number, line in enumerate(lines):
        assert [member for member in flat if owner[member] == number] == line[:70]


async def test_who_was_away_gets_no_credit_for_it(lanes: Lanes) -> None:
    await enqueue(lanes, new_tenant(), 500)
    await claim(lanes.claims(), 400)
    late = await enqueue(lanes, new_tenant(), 300)
    assert sum(member in late for member in await claim(lanes.claims(), 100)) <= 51


async def test_a_retry_does_not_wait_behind_its_tenants_backlog(lanes: Lanes) -> None:
    tenant = new_tenant()
    (failed,) = await enqueue(lanes, tenant, 1, when=After(60))
    await enqueue(lanes, tenant, 1000)
    await claim(lanes.claims(), 10)
    await make_due(lanes, [failed])
    assert failed in await claim(lanes.claims(), 2)


async def test_a_storm_of_retries_does_not_stand_before_others(lanes: Lanes) -> None:
    storm = await enqueue(lanes, new_tenant(), 400, when=After(60))
    await make_due(lanes, storm)
    await claim(lanes.claims(), 50)
    (quiet,) = await enqueue(lanes, new_tenant(), 1)
    assert quiet in await claim(lanes.claims(), 2)


async def test_what_begins_again_is_before_all(lanes: Lanes) -> None:
    flood = await enqueue(lanes, new_tenant(), 10)
    (acquired,) = (await lanes.claims().claim([0, 1, 0])).acquired
    await lanes.claims().finish([Finished(acquired, AT_FRONT)])
    assert await claim(lanes.claims(), 1) == [flood[0]]
    (rescued,) = await enqueue(lanes, new_tenant(), 1, when=AT_FRONT)
    assert await claim(lanes.claims(), 1) == [rescued]


async def test_what_is_enqueued_again_keeps_its_place(lanes: Lanes) -> None:
    tenant, ids = new_tenant(), [new_job_id() for _ in range(5)]
    for _ in range(3):
        await lanes.enqueuer.enqueue_now([job_entry(each, LANE, tenant_id=tenant) for each in ids])
    (other,) = await enqueue(lanes, new_tenant(), 1)
    assert await claim(lanes.claims(), 6) == sorted([job_member(ids[0]), other]) + [
        job_member(each) for each in ids[1:]
    ]


async def test_the_tags_end_with_the_wait_and_live_a_day_at_most(lanes: Lanes) -> None:
    tags = f"{lanes.keys.lane(LANE)}:tags"
    await enqueue(lanes, new_tenant(), 3)
    assert 0 < await lanes.redis.pttl(tags) <= 86_400_000
    await claim(lanes.claims(), 2)
    assert 0 < await lanes.redis.pttl(tags) <= 86_400_000
    await claim(lanes.claims(), 1)
    assert not await lanes.redis.exists(tags)


async def test_lost_tags_cost_nobody_a_turn(lanes: Lanes) -> None:
    flood = await enqueue(lanes, new_tenant(), 100)
    assert await claim(lanes.claims(), 50) == flood[:50]
    await lanes.redis.delete(f"{lanes.keys.lane(LANE)}:tags")
    (quiet,) = await enqueue(lanes, new_tenant(), 1)
    assert await claim(lanes.claims(), 1) == [quiet]
    assert await claim(lanes.claims(), 10) == flood[50:60]


async def test_a_kept_slot_is_for_who_asks_for_little(lanes: Lanes) -> None:
    flood = await enqueue(lanes, new_tenant(), 100)
    first = await lanes.claims().claim([0, 20, 0], kept=4)
    # It was its first job: a tenant has to have jobs waiting to be a flood.
    assert [each.member for each in first.acquired] == flood[:20]
    other = await enqueue(lanes, new_tenant(), 100)
    assert [each.member for each in (await lanes.claims().claim([0, 0, 0], kept=4)).acquired] == other[:1]
    # From here on each of them has what it can get, in turns.
    assert (await lanes.claims().claim([0, 0, 0], kept=4)).acquired == []
    assert len((await lanes.claims().claim([0, 6, 0], kept=4)).acquired) == 6
    (quiet,) = await enqueue(lanes, new_tenant(), 1)
    assert [each.member for each in (await lanes.claims().claim([0, 0, 0], kept=4)).acquired] == [quiet]


async def test_slots_are_kept_only_while_two_tenants_run_or_wait(lanes: Lanes) -> None:
    alone, claims = new_tenant(), lanes.claims()
    await enqueue(lanes, alone, 10)
    retried = await enqueue(lanes, alone, 5, when=After(60))
    await make_due(lanes, retried)
    assert not (await claims.claim([0, 3, 0])).contested
    (visitor,) = await enqueue(lanes, new_tenant(), 1)
    assert (await claims.claim([0, 0, 0])).contested
    alone_again = await claims.claim([0, 1, 0])
    (held,), contested = alone_again.acquired, alone_again.contested
    assert (held.member, contested) == (visitor, True)
    await claims.finish([Finished(held, DONE)])

    async def released() -> bool:
        return not (await claims.claim([0, 0, 0])).contested

    # The backlog of the one who stays is still there.
    await eventually(released, seconds=LINGER_MS / 1000 + 5)
    assert len(await claim(claims, 100)) == 12


async def test_what_waits_for_a_slot_does_not_wake_a_worker_that_has_only_kept_ones(lanes: Lanes) -> None:
    await enqueue(lanes, new_tenant(), 10)
    await claim(lanes.claims(), 1)
    # The end of what is held comes first, not what waits for a slot.
    due_in = (await lanes.claims().claim([0, 0, 0], kept=2)).due_in
    assert due_in is not None
    assert due_in > LEASE_SECONDS / 2
    await enqueue(lanes, new_tenant(), 1, when=After(LEASE_SECONDS / 2))
    due_in = (await lanes.claims().claim([0, 0, 0], kept=2)).due_in
    assert due_in is not None
    assert 0 < due_in <= LEASE_SECONDS / 2


async def test_a_worker_keeps_some_slots_for_who_comes_next(lanes: Lanes) -> None:
    runs = Runs()
    runs.may_end.clear()
    for _ in range(2):
        await enqueue(lanes, new_tenant(), 60)
    # The standard lane leaves one slot to the interactive one.
    async with lanes.worker(runs, slots=16):
        await runs.until(lambda: len(runs.running) == 15)
        first, runs.may_end = runs.may_end, asyncio.Event()
        first.set()
        await runs.until(lambda: len(runs.running) == 16 - kept_free(16))
        (quiet,) = await enqueue(lanes, new_tenant(), 1)
        await runs.until(lambda: quiet in runs.running)
        assert len(runs.running) == 16 - kept_free(16) + 1
        runs.may_end.set()
