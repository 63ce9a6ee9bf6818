"""Who is woken: as many workers as there is new work, the freest first, and never one that is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from core.domain.run_again import AT_FRONT, After
from core.queue import worker as queue_worker
from core.queue.claims import Finished
from core.queue.keys import Lane
from core.queue.subscription import listen
from tests.queue.lanes import Lanes, Runs, connected
from tests.support.waiting import eventually

LANE = Lane.STANDARD


@pytest.fixture
def no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an event can wake a worker."""
    monkeypatch.setattr(queue_worker, "_TICK_SECONDS", 3600.0)


@asynccontextmanager
async def hearing(lanes: Lanes, *workers: str) -> AsyncIterator[list[str]]:
    """The names of the workers that were woken, in this order."""
    heard: list[str] = []
    ready = asyncio.Event()

    def of(name: str) -> Callable[[str], None]:
        return lambda _: heard.append(name)

    async with connected(lanes.url) as redis:
        handlers = {lanes.keys.wake_one(LANE, name): of(name) for name in workers}
        task = asyncio.create_task(listen(redis, handlers, ready.set))
        await asyncio.wait_for(ready.wait(), 10)
        for name in workers:
            await eventually(lambda name=name: redis.publish(lanes.keys.wake_one(LANE, name), ""))  # type: ignore[misc]
        await eventually(lambda: set(heard) == set(workers))
        heard.clear()
        yield heard
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def idle(lanes: Lanes, name: str, slots: int = 10) -> None:
    acquired = (await lanes.claims(worker=name).claim([0, slots, 0])).acquired
    assert acquired == []


async def test_one_new_job_wakes_one_worker_the_freest(lanes: Lanes) -> None:
    async with hearing(lanes, "a", "b", "c") as heard:
        for name, slots in (("a", 3), ("b", 9), ("c", 5)):
            await idle(lanes, name, slots)
        await lanes.enqueue(1)
        await lanes.enqueue(1)
        await eventually(lambda: heard == ["b", "c"])
        # A claim that leaves slots open says so again.
        acquired = (await lanes.claims(worker="b").claim([0, 9, 0])).acquired
        assert len(acquired) == 2
        await lanes.enqueue(5)
        await eventually(lambda: sorted(heard) == ["a", "b", "b", "c"])


async def test_a_worker_without_open_slots_is_not_woken(lanes: Lanes) -> None:
    async with hearing(lanes, "full", "free") as heard:
        await idle(lanes, "full", 20)
        await lanes.enqueue(1)
        await eventually(lambda: heard == ["full"])
        acquired = (await lanes.claims(worker="full").claim([0, 1, 0])).acquired
        assert len(acquired) == 1
        await idle(lanes, "free")
        await lanes.enqueue(1)
        await eventually(lambda: heard == ["full", "free"])


async def test_a_worker_that_died_is_passed_over(lanes: Lanes) -> None:
    async with hearing(lanes, "alive") as heard:
        await idle(lanes, "dead", 20)
        await idle(lanes, "alive", 5)
        await lanes.enqueue(1)
        await eventually(lambda: heard == ["alive"])


async def test_all_are_woken_once_when_redis_forgot_who_is_idle(lanes: Lanes) -> None:
    heard: list[str] = []
    async with hearing(lanes, "idle") as woken, connected(lanes.url) as redis:
        ready = asyncio.Event()
        task = asyncio.create_task(listen(redis, {lanes.keys.wake: lambda _: heard.append("all")}, ready.set))
        await asyncio.wait_for(ready.wait(), 10)
        await idle(lanes, "idle")
        await lanes.redis.flushall()
        await lanes.enqueue(1)
        await eventually(lambda: heard == ["all"])
        # Nobody has said since that it is idle: those that are busy are left alone.
        await lanes.enqueue(1)
        assert len((await lanes.claims(worker="idle").claim([0, 9, 0])).acquired) == 2
        await lanes.enqueue(1)
        await eventually(lambda: woken == ["idle"])
        assert heard == ["all"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_that_leaves_is_not_woken_and_passes_its_message_on(lanes: Lanes) -> None:
    async with hearing(lanes, "leaving", "staying") as heard:
        await idle(lanes, "leaving", 20)
        await lanes.claims(worker="leaving").leave()
        await idle(lanes, "staying")
        await lanes.enqueue(1)
        await eventually(lambda: heard == ["staying"])
        await lanes.claims(worker="staying").claim([0, 5, 0])
        await lanes.claims(worker="leaving").leave()
        await eventually(lambda: heard == ["staying", "staying"])


async def test_what_is_put_back_for_now_wakes_another(lanes: Lanes) -> None:
    claims = lanes.claims()
    await lanes.enqueue(2)
    first, second = (await claims.claim([0, 2, 0])).acquired
    async with hearing(lanes, "other") as heard:
        await idle(lanes, "other")
        await claims.finish([Finished(first, After(20))])
        await claims.finish([Finished(second, AT_FRONT)])
        await eventually(lambda: heard == ["other"])


async def test_only_one_idle_worker_looks_when_the_next_time_comes(lanes: Lanes) -> None:
    await lanes.enqueue(1, when=After(0.5))
    first, second = lanes.claims(worker="first"), lanes.claims(worker="second")
    due_in = (await first.claim([0, 1, 0])).due_in
    assert due_in is not None
    assert (await second.claim([0, 1, 0])).due_in is None
    assert (await first.claim([0, 1, 0])).due_in is not None
    await lanes.enqueue(1, when=After(0.05))
    assert (await second.claim([0, 1, 0])).due_in is not None


async def test_submits_that_race_for_the_same_workers_leave_nothing_waiting(
    lanes: Lanes, no_tick: None, stack: AsyncExitStack
) -> None:
    runs = Runs()
    for _ in range(3):
        await stack.enter_async_context(lanes.worker(runs, slots=4))
    for turn in range(1, 31):
        await asyncio.gather(*[lanes.enqueue(1, Lane.INTERACTIVE) for _ in range(5)])
        await runs.until(lambda turn=turn: len(runs.members) == 5 * turn)  # type: ignore[misc]


async def test_idle_workers_cost_a_job_no_claims(lanes: Lanes, no_tick: None, stack: AsyncExitStack) -> None:
    """With twenty idle workers a job is one script to enqueue, a claim or two, and one to finish."""
    runs = Runs()
    for _ in range(20):
        await stack.enter_async_context(lanes.worker(runs))
    group = lanes.keys.group(LANE)

    async def all_idle() -> bool:
        return int(await lanes.redis.zcount(f"{group}:idle", 0, "+inf")) == 20

    await eventually(all_idle)
    # Their first claims, at the start of their subscriptions, are over.
    await eventually(lambda: _quiet(lanes))
    before = await _scripts(lanes)
    for turn in range(1, 21):
        await lanes.enqueue(1)
        await runs.until(lambda turn=turn: len(runs.members) == turn)  # type: ignore[misc]
    await eventually(all_idle)
    assert await _scripts(lanes) - before <= 20 * 5


async def _scripts(lanes: Lanes) -> int:
    return int((await lanes.redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


async def _quiet(lanes: Lanes) -> bool:
    before = await _scripts(lanes)
    await asyncio.sleep(0.1)
    return await _scripts(lanes) == before
