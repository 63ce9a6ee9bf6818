"""The Lua scripts against a real Valkey: who holds a member, until when, and who may let go of it."""

import pytest

from core.domain.ids import parse_job
from core.domain.run_again import AT_FRONT, DONE, After, RunAgain
from core.queue.claims import Claims, Finished
from core.queue.keys import IN_PROGRESS, JOB_LANES, PAYLOAD, Lane
from core.queue.lua_text import VIRTUAL_SCORES
from core.queue.payload import PAYLOAD_LIFE_MS, RUN_JOB
from tests.queue.lanes import LEASE_SECONDS, Lanes
from tests.support.waiting import eventually

LEASE_MS = LEASE_SECONDS * 1000
# Between two commands of a test pass milliseconds, on a bad day a second; a lease is 30.
SLACK_MS = 5000


async def claimed(claims: Claims, *shares: int) -> list[str]:
    acquired = (await claims.claim(shares or (0, 100, 0))).acquired
    return [each.member for each in acquired]


async def test_an_enqueue_is_due_at_once_with_a_payload_that_expires(lanes: Lanes) -> None:
    (member,) = await lanes.enqueue()
    assert 0 < await lanes.score(member) < VIRTUAL_SCORES
    assert PAYLOAD_LIFE_MS - SLACK_MS < await lanes.redis.pttl(PAYLOAD + member) <= PAYLOAD_LIFE_MS


async def test_enqueueing_twice_is_enqueueing_once(lanes: Lanes) -> None:
    (member,) = await lanes.enqueue()
    await lanes.enqueue_again([parse_job(member)])
    assert await lanes.members() == [member]
    assert await claimed(lanes.claims()) == [member]
    assert await claimed(lanes.claims()) == []


async def test_a_claim_takes_the_due_ones_in_order_and_no_more_than_asked(lanes: Lanes) -> None:
    first, second, third = [(await lanes.enqueue())[0] for _ in range(3)]
    for score, member in enumerate((first, second, third), start=1):
        await lanes.redis.zadd(lanes.keys.lane(Lane.STANDARD), {member: score})
    assert await claimed(lanes.claims(), 0, 2, 0) == [first, second]
    assert await claimed(lanes.claims(), 0, 2, 0) == [third]


async def test_a_claim_says_when_the_next_one_is_due(lanes: Lanes) -> None:
    claims = lanes.claims()
    nothing = await claims.claim([1, 1, 1])
    assert (nothing.acquired, nothing.due_in) == ([], None)
    await lanes.enqueue(when=After(60))
    later = await claims.claim([1, 1, 1])
    assert later.acquired == []
    assert later.due_in is not None
    assert 60 - SLACK_MS / 1000 < later.due_in <= 60


async def test_a_claimed_member_is_held_under_a_token_until_the_lease_ends(lanes: Lanes) -> None:
    (member,) = await lanes.enqueue()
    (acquired,) = (await lanes.claims().claim([0, 1, 0])).acquired
    assert (acquired.member, acquired.function, acquired.lane) == (member, RUN_JOB, Lane.STANDARD)
    assert await lanes.holder(member) == acquired.token
    assert LEASE_MS - SLACK_MS < await lanes.redis.pttl(IN_PROGRESS + member) <= LEASE_MS
    # A stock arq worker sees a job that is not due; a worker's clock plays no part, so it is compared with Redis's own.
    assert LEASE_MS - SLACK_MS < await lanes.due_in_ms(member) <= LEASE_MS


async def test_each_claim_has_a_token_of_its_own(lanes: Lanes) -> None:
    claims = lanes.claims()
    await lanes.enqueue(2)
    (first,) = (await claims.claim([0, 1, 0])).acquired
    (second,) = (await claims.claim([0, 1, 0])).acquired
    assert first.token != second.token


async def test_what_somebody_holds_is_not_claimed_again_even_when_it_looks_due(lanes: Lanes) -> None:
    held, free = await lanes.enqueue(2)
    await lanes.make_due(held)
    assert await claimed(lanes.claims(), 0, 1, 0) == [held]
    await lanes.make_due(held)
    assert await claimed(lanes.claims()) == [free]
    # Out of the way of the next claim, and not for long.
    assert 0 < await lanes.due_in_ms(held) <= 1000


async def test_a_lease_that_ran_out_can_be_claimed(lanes: Lanes) -> None:
    (member,) = await lanes.enqueue()
    short = lanes.claims(lease_seconds=0.05)
    assert await claimed(short) == [member]

    async def free() -> bool:
        return await lanes.holder(member) is None

    await eventually(free)
    assert await claimed(short) == [member]


async def test_the_holder_removes_a_member_for_good(lanes: Lanes) -> None:
    claims = lanes.claims()
    (member,) = await lanes.enqueue()
    (acquired,) = (await claims.claim([0, 1, 0])).acquired
    await claims.finish([Finished(acquired, DONE)])
    assert await lanes.members() == []
    assert await lanes.redis.exists(PAYLOAD + member, IN_PROGRESS + member) == 0


async def test_the_holder_may_ask_for_another_run(lanes: Lanes) -> None:
    claims = lanes.claims()
    (member,) = await lanes.enqueue()
    (acquired,) = (await claims.claim([0, 1, 0])).acquired
    await claims.finish([Finished(acquired, After(20))])
    assert await lanes.holder(member) is None
    assert 20_000 - SLACK_MS < await lanes.due_in_ms(member) <= 20_000
    assert await lanes.redis.exists(PAYLOAD + member) == 1


async def test_what_had_begun_goes_before_what_waits(lanes: Lanes) -> None:
    """F11, F31: rescued from a dead worker, or put back by one that stops."""
    claims = lanes.claims()
    (begun,) = await lanes.enqueue()
    (acquired,) = (await claims.claim([0, 1, 0])).acquired
    waiting = await lanes.enqueue(20)
    await claims.finish([Finished(acquired, AT_FRONT)])
    (rescued,) = await lanes.enqueue(when=AT_FRONT)
    assert await claimed(claims, 0, 2, 0) == [begun, rescued]
    assert set(await claimed(claims, 0, 20, 0)) == set(waiting)
    assert PAYLOAD_LIFE_MS - SLACK_MS < await lanes.redis.pttl(PAYLOAD + rescued) <= PAYLOAD_LIFE_MS


@pytest.mark.parametrize("again", [DONE, AT_FRONT, After(20)])
async def test_only_the_holder_may_finish(lanes: Lanes, again: RunAgain) -> None:
    """F15, F16: the one that was late is another acquisition of the same worker."""
    claims = lanes.claims()
    (member,) = await lanes.enqueue()
    (late,) = (await claims.claim([0, 1, 0])).acquired
    await lanes.redis.delete(IN_PROGRESS + member)
    await lanes.make_due(member)
    (holder,) = (await claims.claim([0, 1, 0])).acquired
    await claims.finish([Finished(late, again)])
    assert await lanes.holder(member) == holder.token
    assert LEASE_MS - SLACK_MS < await lanes.due_in_ms(member) <= LEASE_MS
    assert await lanes.redis.exists(PAYLOAD + member) == 1


async def test_a_member_that_is_enqueued_while_it_is_held_stays_for_its_next_run(lanes: Lanes) -> None:
    claims = lanes.claims()
    (member,) = await lanes.enqueue()
    (earlier,) = (await claims.claim([0, 1, 0])).acquired
    await lanes.enqueue_again([parse_job(member)])
    assert await lanes.holder(member) is None
    await claims.finish([Finished(earlier, DONE)])
    assert await claimed(claims) == [member]


async def test_a_later_run_is_not_forgotten_when_redis_forgot_the_holder(lanes: Lanes) -> None:
    """F7, F8: nobody else has it, so the wish of the one who had it counts."""
    claims = lanes.claims()
    (member,) = await lanes.enqueue()
    (acquired,) = (await claims.claim([0, 1, 0])).acquired
    await lanes.redis.delete(IN_PROGRESS + member, PAYLOAD + member, lanes.keys.lane(Lane.STANDARD))
    await claims.finish([Finished(acquired, AT_FRONT)])
    (again,) = (await claims.claim([0, 1, 0])).acquired
    assert (again.member, again.function) == (member, None)
    await lanes.redis.delete(IN_PROGRESS + member, lanes.keys.lane(Lane.STANDARD))
    await claims.finish([Finished(again, DONE)])
    assert await lanes.members() == []


async def test_a_finish_may_run_twice(lanes: Lanes) -> None:
    claims = lanes.claims()
    gone, again = await lanes.enqueue(2)
    acquired = (await claims.claim([0, 2, 0])).acquired
    finished = [Finished(each, DONE if each.member == gone else After(20)) for each in acquired]
    for _ in range(2):
        await claims.finish(finished)
    assert await lanes.members() == [again]
    assert await lanes.holder(again) is None


async def test_a_heartbeat_moves_the_end_of_the_lease(lanes: Lanes) -> None:
    (member,) = await lanes.enqueue()
    acquired = (await lanes.claims(lease_seconds=10).claim([0, 1, 0])).acquired
    assert await lanes.claims(lease_seconds=100).renew(acquired) == 1
    assert 100_000 - SLACK_MS < await lanes.redis.pttl(IN_PROGRESS + member) <= 100_000
    assert 100_000 - SLACK_MS < await lanes.due_in_ms(member) <= 100_000


async def test_a_heartbeat_of_somebody_else_changes_nothing(lanes: Lanes) -> None:
    claims = lanes.claims()
    (member,) = await lanes.enqueue()
    (late,) = (await claims.claim([0, 1, 0])).acquired
    await lanes.enqueue_again([parse_job(member)])
    assert await claims.renew([late]) == 0
    assert await claimed(claims) == [member]
    assert await lanes.claims(lease_seconds=300).renew([late]) == 0
    assert await lanes.redis.pttl(IN_PROGRESS + member) <= LEASE_MS


@pytest.mark.parametrize("payload", [None, b"not json", b"[]", b'{"f": 7}'])
async def test_a_payload_that_says_nothing_is_claimed_all_the_same(lanes: Lanes, payload: bytes | None) -> None:
    """F8, F24: the id is all that is needed."""
    (member,) = await lanes.enqueue()
    await lanes.redis.delete(PAYLOAD + member)
    if payload is not None:
        await lanes.redis.set(PAYLOAD + member, payload)
    (acquired,) = (await lanes.claims().claim([0, 1, 0])).acquired
    assert (acquired.member, acquired.function) == (member, None)


async def test_a_payload_of_another_type_does_not_stop_the_claim(lanes: Lanes) -> None:
    odd, fine = await lanes.enqueue(2)
    await lanes.redis.delete(PAYLOAD + odd)
    await lanes.redis.zadd(PAYLOAD + odd, {"no": 1, "text": 2})
    assert set(await claimed(lanes.claims())) == {odd, fine}


async def test_a_member_of_any_bytes_can_be_removed(lanes: Lanes) -> None:
    claims = lanes.claims()
    await lanes.redis.zadd(lanes.keys.lane(Lane.STANDARD), {b"\xff\x00 no text": 1, b"stale": 1})
    acquired = (await claims.claim([0, 2, 0])).acquired
    await claims.finish([Finished(each, DONE) for each in acquired])
    assert await lanes.members() == []


async def test_one_claim_takes_more_than_lua_can_return_on_its_stack_by_accident(lanes: Lanes) -> None:
    members = await lanes.enqueue(500)
    assert sorted(await claimed(lanes.claims(), 0, 500, 0)) == sorted(members)


async def test_full_lanes_are_claimed_by_their_shares(lanes: Lanes) -> None:
    for lane in JOB_LANES:
        await lanes.enqueue(20, lane)
    acquired = (await lanes.claims().claim([8, 4, 1])).acquired
    assert [sum(each.lane is lane for each in acquired) for lane in JOB_LANES] == [8, 4, 1]


async def test_an_empty_lane_leaves_its_share_to_the_others(lanes: Lanes) -> None:
    await lanes.enqueue(2, Lane.INTERACTIVE)
    await lanes.enqueue(20, Lane.BATCH)
    acquired = (await lanes.claims().claim([8, 4, 1])).acquired
    assert [sum(each.lane is lane for each in acquired) for lane in JOB_LANES] == [2, 0, 11]
