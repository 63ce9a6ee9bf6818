"""Whose turn a step of the sweep is: one worker's at a time, for as long as it lives."""

import asyncio

from core.db.engine import Database
from core.jobs.sweep_turns import SweepTurns
from tests.conftest import OwnerPool
from tests.support.waiting import eventually


async def test_one_worker_has_the_turn_and_keeps_it(fleet: Database) -> None:
    first, second = SweepTurns(fleet, "first", 60), SweepTurns(fleet, "second", 60)
    assert [await first.take("rescue"), await second.take("rescue")] == [True, False]
    assert [await first.take("rescue"), await second.take("rescue")] == [True, False]
    # Each step by itself.
    assert [await second.take("reconcile"), await first.take("reconcile")] == [True, False]


async def test_a_dead_holder_is_replaced(fleet: Database) -> None:
    dead, alive = SweepTurns(fleet, "dead", 0.2), SweepTurns(fleet, "alive", 60)
    assert await dead.take("rescue")
    await eventually(lambda: alive.take("rescue"))
    assert not await dead.take("rescue")


async def test_a_long_step_keeps_its_turn(fleet: Database, owner: OwnerPool) -> None:
    holder, other = SweepTurns(fleet, "holder", 0.3), SweepTurns(fleet, "other", 60)
    assert await holder.take("reconcile")
    async with holder.kept("reconcile"):
        first = await owner.fetchval("SELECT expires_at FROM sweep_turns")

        async def renewed() -> bool:
            return bool(
                await owner.fetchval("SELECT expires_at > $1::timestamptz + interval '0.3 s' FROM sweep_turns", first)
            )

        await eventually(renewed)
        assert not await other.take("reconcile")


async def test_who_stops_leaves_its_turns(fleet: Database) -> None:
    first, second = SweepTurns(fleet, "first", 60), SweepTurns(fleet, "second", 60)
    await asyncio.gather(*[first.take(name) for name in ("rescue", "recover", "reconcile")])
    await first.leave()
    assert await second.take("rescue")
    await first.leave()
    assert not await first.take("rescue")
