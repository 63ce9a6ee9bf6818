"""The worker's loop: what wakes it, what it survives, and that it never waits behind what others run."""

from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from core.domain.ids import parse_job
from core.domain.run_again import DONE, After, RunAgain
from core.queue import worker as queue_worker
from core.queue.keys import JOB_LANES, PAYLOAD, Lane
from core.queue.payload import payload
from tests.queue.lanes import Lanes, Runs
from tests.support.waiting import eventually


@pytest.fixture
def no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an event can wake a worker."""
    monkeypatch.setattr(queue_worker, "_TICK_SECONDS", 3600.0)


async def emptied(lanes: Lanes) -> None:
    async def empty() -> bool:
        return await lanes.count() == 0

    await eventually(empty, what="the lanes are empty")


async def moved_on(lanes: Lanes, member: str) -> None:
    """Waits until its time has been moved: by a claim, a renewal or a finish."""
    before = await lanes.score(member)

    async def later() -> bool:
        return await lanes.score(member) > before

    await eventually(later, what="its time is moved")


async def test_what_is_enqueued_is_run_once_and_leaves_the_lane(lanes: Lanes) -> None:
    runs = Runs()
    members = await lanes.enqueue(50)
    async with lanes.worker(runs, slots=7):
        await emptied(lanes)
    assert sorted(runs.members) == sorted(members)


async def test_a_message_wakes_it(lanes: Lanes, no_tick: None) -> None:
    runs = Runs()
    async with lanes.worker(runs):
        for count in range(1, 6):
            await lanes.enqueue()
            await runs.until(lambda count=count: len(runs.members) == count)  # type: ignore[misc]


async def test_a_message_that_came_before_the_subscription_is_not_missed(lanes: Lanes, no_tick: None) -> None:
    runs = Runs()
    async with lanes.worker(runs, listening=False) as worker:
        await lanes.enqueue()
        worker.wake()
        await runs.until(lambda: len(runs.members) == 1)


async def test_a_freed_slot_wakes_it(lanes: Lanes, no_tick: None) -> None:
    runs = Runs()
    await lanes.enqueue(20)
    async with lanes.worker(runs, slots=2, listening=False):
        await runs.until(lambda: len(runs.members) == 20)


async def test_the_next_due_time_wakes_it(lanes: Lanes, no_tick: None) -> None:
    runs = Runs()
    await lanes.enqueue(when=After(0.2))
    async with lanes.worker(runs, listening=False):
        await runs.until(lambda: len(runs.members) == 1)


async def test_a_run_that_asks_for_another_one_gets_it(lanes: Lanes, no_tick: None) -> None:
    runs = Runs(lambda _: DONE if len(runs.members) == 3 else After(0.05))
    await lanes.enqueue()
    async with lanes.worker(runs):
        await emptied(lanes)
    assert len(runs.members) == 3


async def test_without_messages_the_tick_finds_it(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_worker, "_TICK_SECONDS", 0.05)
    runs = Runs()
    async with lanes.worker(runs, listening=False):
        await lanes.enqueue()
        await runs.until(lambda: len(runs.members) == 1)


async def test_more_run_at_once_than_a_stock_worker_would_read(lanes: Lanes, stack: AsyncExitStack) -> None:
    """Stock arq reads `queue_read_limit` entries from the head, where those in progress stay: here they do not."""
    runs = Runs()
    runs.may_end.clear()
    workers = [await stack.enter_async_context(lanes.worker(runs, slots=150)) for _ in range(2)]
    limit = 20
    for worker in workers:
        worker.queue_read_limit = limit
    await lanes.enqueue(300, Lane.INTERACTIVE)
    await runs.until(lambda: len(runs.running) == 300)
    runs.may_end.set()
    await emptied(lanes)
    assert len(runs.members) == len(set(runs.members)) == 300


async def test_it_runs_no_more_than_it_has_slots(lanes: Lanes) -> None:
    runs = Runs()
    runs.may_end.clear()
    await lanes.enqueue(30, Lane.INTERACTIVE)
    async with lanes.worker(runs, slots=4) as worker:
        await runs.until(lambda: len(runs.running) == 4)
        await lanes.enqueue(1, Lane.INTERACTIVE)
        await eventually(lambda: worker.job_counter == 4)
        runs.may_end.set()
        await emptied(lanes)
    assert len(runs.members) == 31


def failing(error: BaseException) -> Callable[[str], RunAgain]:
    def fail(_member: str) -> RunAgain:
        raise error

    return fail


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ConnectionRefusedError("no PostgreSQL")])
async def test_a_task_that_raises_is_put_back_and_ends_nothing(
    lanes: Lanes, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "_LATER", After(0.05))
    runs = Runs(lambda member: DONE if runs.members.count(member) > 1 else failing(error)(member))
    await lanes.enqueue(2)
    async with lanes.worker(runs):
        await emptied(lanes)
    assert len(runs.members) == 4


async def test_a_task_that_is_cancelled_frees_its_slot(lanes: Lanes) -> None:
    runs = Runs()
    runs.may_end.clear()
    (member,) = await lanes.enqueue()
    async with lanes.worker(runs, slots=1) as worker:
        await runs.until(lambda: len(runs.running) == 1)
        worker.tasks[member].cancel()
        await runs.until(lambda: len(runs.running) == 0)
        (other,) = await lanes.enqueue()
        await runs.until(lambda: other in runs.running)
        assert set(worker.held) == {other}
        runs.may_end.set()


async def test_members_that_are_not_ours_are_removed(lanes: Lanes) -> None:
    """I6: any content of Redis only delays."""
    runs = Runs()
    foreign = [b"user:7", b"job_", b"job_XYZ", b"arq:job:1", b"\xff\x00", b""]
    await lanes.redis.zadd(lanes.keys.lane(Lane.STANDARD), dict.fromkeys(foreign, 1.0))
    (member,) = await lanes.enqueue()
    async with lanes.worker(runs):
        await emptied(lanes)
    assert runs.members == [member]


async def test_a_task_that_it_does_not_know_waits_for_a_worker_that_does(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F32: a newer version enqueued it."""
    monkeypatch.setattr(queue_worker, "_LATER", After(0.05))
    old, new = Runs(), Runs()
    (member,) = await lanes.enqueue()
    await lanes.redis.set(PAYLOAD + member, payload("summarise", member))
    async with lanes.worker(old):
        for _ in range(3):
            await moved_on(lanes, member)
    async with lanes.worker(new, tasks={"run_job": old.task, "summarise": new.task}):
        await emptied(lanes)
    assert (old.members, new.members) == ([], [member])


async def test_what_runs_is_held_for_as_long_as_it_runs(lanes: Lanes, stack: AsyncExitStack) -> None:
    """Neither worker is given it again, though it runs for several leases."""
    runs = Runs()
    runs.may_end.clear()
    (member,) = await lanes.enqueue()
    for _ in range(2):
        await stack.enter_async_context(lanes.worker(runs, lease_seconds=0.3))
    token = await eventually(lambda: lanes.holder(member))
    for _ in range(4):
        await moved_on(lanes, member)
        assert await lanes.holder(member) == token
    runs.may_end.set()
    await emptied(lanes)
    assert runs.members == [member]


async def test_what_is_no_longer_ours_is_let_go(lanes: Lanes, stack: AsyncExitStack) -> None:
    """Its lease in PostgreSQL is over, so this worker must not keep others from asking."""
    cut_off, other = Runs(), Runs()
    cut_off.may_end.clear()
    (member,) = await lanes.enqueue()
    # Without a name it is not the one that looks when the next time comes.
    first = lanes.worker(cut_off, lease_seconds=0.3, still_ours=lambda _: False, name="")
    async with first:
        await cut_off.until(lambda: member in cut_off.running)
        async with lanes.worker(other):
            await other.until(lambda: other.members == [member])
        cut_off.may_end.set()


async def test_what_is_enqueued_while_it_runs_here_runs_once_more(lanes: Lanes) -> None:
    runs = Runs()
    runs.may_end.clear()
    (member,) = await lanes.enqueue()
    async with lanes.worker(runs) as worker:
        await runs.until(lambda: member in runs.running)
        token = worker.held[member].token
        await lanes.enqueue_again([parse_job(member)])
        await eventually(lambda: worker.held[member].token != token, what="it comes back to the same worker")
        assert runs.members == [member]
        runs.may_end.set()
        await emptied(lanes)
    assert runs.members == [member, member]


async def test_a_stopped_worker_claims_nothing_and_ends_what_runs(lanes: Lanes) -> None:
    runs = Runs()
    runs.may_end.clear()
    running = await lanes.enqueue(3)
    async with lanes.worker(runs, slots=3) as worker:
        await runs.until(lambda: len(runs.running) == 3)
        worker.stop()
        later = await lanes.enqueue(2)
        assert await worker.drain(0.05) == 3
        runs.may_end.set()
        assert await worker.drain(10) == 0
    assert (sorted(runs.members), sorted(await lanes.members())) == (sorted(running), sorted(later))


async def test_what_it_holds_is_renewed_while_it_drains(lanes: Lanes) -> None:
    runs = Runs()
    runs.may_end.clear()
    (member,) = await lanes.enqueue()
    async with lanes.worker(runs, lease_seconds=0.3) as worker:
        await runs.until(lambda: len(runs.running) == 1)
        worker.stop()
        token = await lanes.holder(member)
        for _ in range(4):
            await moved_on(lanes, member)
            assert await lanes.holder(member) == token
        runs.may_end.set()
    assert await lanes.members() == []


async def test_a_claim_under_way_when_it_is_stopped_is_handed_back(
    lanes: Lanes, no_tick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F31: otherwise it would be stranded for a whole lease."""
    runs = Runs()
    async with lanes.worker(runs, listening=False) as worker:
        claims = worker._claims
        claim = type(claims).claim

        async def claim_and_stop(*args: object) -> object:
            found = await claim(*args)  # type: ignore[arg-type]
            if found.acquired:
                worker.stop()
            return found

        monkeypatch.setattr(type(claims), "claim", claim_and_stop)
        (member,) = await lanes.enqueue()
        worker.wake()
        await worker.drain(10)
    assert runs.members == []
    assert await lanes.holder(member) is None
    assert await lanes.due_in_ms(member) <= 0


async def test_slots_that_are_freed_while_a_claim_is_under_way_are_used_at_once(
    lanes: Lanes, no_tick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane's own limit leaves some behind, and what ran meanwhile has ended before that is known."""
    runs = Runs()
    runs.may_end.clear()
    await lanes.enqueue(10)
    async with lanes.worker(runs, slots=30, listening=False) as worker:
        await runs.until(lambda: len(runs.running) == 10)
        claims = worker._claims
        claim = type(claims).claim

        async def claim_until_all_have_ended(*args: object) -> object:
            found = await claim(*args)  # type: ignore[arg-type]
            runs.may_end.set()
            await eventually(lambda: worker.job_counter == 0, what="what ran has ended")
            return found

        monkeypatch.setattr(type(claims), "claim", claim_until_all_have_ended)
        await lanes.enqueue(40)
        worker.wake()
        await runs.until(lambda: len(runs.members) == 50)


async def test_full_lanes_are_served_eight_to_four_to_one(lanes: Lanes) -> None:
    runs = Runs()
    lane_of = {member: lane for lane in JOB_LANES for member in await lanes.enqueue(100, lane)}
    async with lanes.worker(runs, slots=1, listening=False):
        await runs.until(lambda: len(runs.members) >= 65)
    served = [lane_of[member] for member in runs.members[:65]]
    assert [served.count(lane) for lane in JOB_LANES] == [40, 20, 5]


@pytest.mark.parametrize("slots", [1, 3, 13, 40])
async def test_no_lane_waits_while_another_is_never_empty(lanes: Lanes, slots: int) -> None:
    """The batch job runs although interactive ones keep coming."""
    runs = Runs()
    (batch,) = await lanes.enqueue(1, Lane.BATCH)
    await lanes.enqueue(200, Lane.INTERACTIVE)
    async with lanes.worker(runs, slots=slots, listening=False):
        await runs.until(lambda: batch in runs.members)
        # Of 13 that start, one is of the batch lane.
        assert runs.members.index(batch) < 13 + slots


@pytest.mark.parametrize(("lane", "most"), [(Lane.INTERACTIVE, 30), (Lane.STANDARD, 29), (Lane.BATCH, 28)])
async def test_a_lane_alone_leaves_a_few_slots_to_the_ones_before_it(lanes: Lanes, lane: Lane, most: int) -> None:
    runs = Runs()
    runs.may_end.clear()
    await lanes.enqueue(50, lane)
    async with lanes.worker(runs, slots=30):
        await runs.until(lambda: len(runs.running) == most)
        (first,) = await lanes.enqueue(1, Lane.INTERACTIVE)
        if most < 30:
            await runs.until(lambda: first in runs.running)
            assert len(runs.running) == most + 1
        runs.may_end.set()
        await emptied(lanes)


async def test_batch_and_standard_together_leave_some_to_interactive(lanes: Lanes) -> None:
    runs = Runs()
    runs.may_end.clear()
    batch, standard = await lanes.enqueue(50, Lane.BATCH), await lanes.enqueue(50)
    async with lanes.worker(runs, slots=30):
        await runs.until(lambda: len(runs.running) == 29)
        await lanes.enqueue(1, Lane.INTERACTIVE)
        await runs.until(lambda: len(runs.running) == 30)
        assert runs.running & set(batch)
        assert runs.running & set(standard)
        runs.may_end.set()
        await emptied(lanes)


async def test_two_workers_share_and_nothing_runs_twice(lanes: Lanes, stack: AsyncExitStack) -> None:
    """F21: the same ids enqueued again and again, to several workers."""
    here, there = Runs(), Runs()
    members = await lanes.enqueue(200, Lane.INTERACTIVE)
    for runs in (here, there):
        runs.may_end.clear()
        await stack.enter_async_context(lanes.worker(runs, slots=100))
    await here.until(lambda: len(here.running) == 100)
    await there.until(lambda: len(there.running) == 100)
    for runs in (here, there):
        runs.may_end.set()
    await emptied(lanes)
    assert sorted(here.members + there.members) == sorted(members)


async def test_what_a_dead_worker_held_is_run_by_the_next(lanes: Lanes, no_tick: None) -> None:
    """F11: claimed in Redis, and killed before it asked PostgreSQL."""
    runs = Runs()
    (member,) = await lanes.enqueue()
    await lanes.claims(lease_seconds=0.2).claim([0, 1, 0])
    async with lanes.worker(runs, listening=False):
        await emptied(lanes)
    assert runs.members == [member]
