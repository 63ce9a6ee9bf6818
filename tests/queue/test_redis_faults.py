"""The worker while its Redis dies, forgets, hangs and drops connections: it serves again at once, and loses no member
that Redis still has."""

import asyncio

import pytest

from core.domain.run_again import AT_FRONT, DONE
from core.queue import connect as queue_connect
from core.queue import worker as queue_worker
from core.queue.keys import Keys
from tests.queue.lanes import Lanes, Runs, connected, open_lanes
from tests.queue.own_valkey import OwnValkey
from tests.support.waiting import eventually


async def served(lanes: Lanes, runs: Runs) -> None:
    """Enqueues until a new member has run: an enqueue may fall into the fault."""

    async def one() -> bool:
        (member,) = await lanes.enqueue()
        await runs.until(lambda: member in runs.members)
        return True

    await eventually(one)


async def test_it_serves_again_after_a_restart(valkey: OwnValkey, keys: Keys) -> None:
    runs = Runs()
    async with open_lanes(valkey.url, keys) as lanes, lanes.worker(runs) as worker:
        await served(lanes, runs)
        for _ in range(3):
            await valkey.kill()
            await valkey.start()
            await served(lanes, runs)
        assert worker.allow_pick_jobs


async def test_it_claims_at_once_when_redis_is_back(
    valkey: OwnValkey, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a tick nor a message: what was enqueued while it could not look is found by looking."""
    monkeypatch.setattr(queue_worker, "_TICK_SECONDS", 3600.0)
    runs = Runs()
    async with open_lanes(valkey.url, keys) as lanes, lanes.worker(runs, listening=False) as worker:
        failed = asyncio.Event()
        monkeypatch.setattr(queue_worker.log, "warning", lambda *_, **__: failed.set())
        await valkey.kill()
        worker.wake()
        await asyncio.wait_for(failed.wait(), 10)
        await valkey.start()
        (member,) = await lanes.enqueue()
        await runs.until(lambda: member in runs.members)


async def test_what_runs_goes_on_when_redis_forgets_everything(valkey: OwnValkey, keys: Keys) -> None:
    """F7: and a later run that it asks for is not lost with the rest."""
    runs = Runs(lambda member: AT_FRONT if runs.members.count(member) == 1 else DONE)
    runs.may_end.clear()
    async with open_lanes(valkey.url, keys) as lanes, lanes.worker(runs, slots=12):
        members = await lanes.enqueue(10)
        await runs.until(lambda: len(runs.running) == 10)
        await lanes.redis.flushall()
        runs.may_end.set()
        await runs.until(lambda: len(runs.members) == 20)
        assert sorted(runs.members) == sorted(members * 2)
        await served(lanes, runs)


async def test_dropped_connections_lose_no_member(valkey: OwnValkey, keys: Keys) -> None:
    """F5: an answer that is cut off may hide a claim; its lease ends and the member runs all the same."""
    runs = Runs()
    async with (
        open_lanes(valkey.url, keys) as lanes,
        lanes.worker(runs, slots=5, lease_seconds=0.3),
        lanes.worker(runs, slots=5, lease_seconds=0.3),
        connected(valkey.url) as axe,
    ):
        members: list[str] = []
        for _ in range(30):
            members += await lanes.enqueue(10)
            for kind in ("normal", "pubsub"):
                await axe.client_kill_filter(_type=kind, skipme=True)
        await runs.until(lambda: set(runs.members) >= set(members))

        async def empty() -> bool:
            return await lanes.count() == 0

        await eventually(empty)


async def test_a_redis_that_hangs_does_not_hang_the_worker(
    valkey: OwnValkey, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F10: a command has a time limit, and so has waiting for a connection."""
    monkeypatch.setattr(queue_connect, "_COMMAND_SECONDS", 0.2)
    runs = Runs()
    async with open_lanes(valkey.url, keys) as lanes, lanes.worker(runs) as worker:
        await served(lanes, runs)
        failed = asyncio.Event()
        monkeypatch.setattr(queue_worker.log, "warning", lambda *_, **__: failed.set())
        valkey.pause()
        worker.wake()
        await asyncio.wait_for(failed.wait(), 10)
        valkey.resume()
        await served(lanes, runs)


async def test_a_full_redis_is_emptied_by_its_workers(valkey: OwnValkey, keys: Keys) -> None:
    """F38: a claim takes no new memory in the end, so it is not refused, and every job that ends frees some."""
    runs = Runs(lambda member: AT_FRONT if runs.members.count(member) == 1 else DONE)
    async with open_lanes(valkey.url, keys) as lanes, valkey.client() as client:
        members = await lanes.enqueue(30)
        await client.config_set("maxmemory", 1)
        async with lanes.worker(runs, slots=4, lease_seconds=0.5):
            await runs.until(lambda: len(runs.members) == 60)
            assert set(runs.members) == set(members)

            async def empty() -> bool:
                return await lanes.count() == 0

            await eventually(empty)
        await client.config_set("maxmemory", 0)
