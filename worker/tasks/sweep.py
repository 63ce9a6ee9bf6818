"""The sweep's loops: rescue and expire, recover, reconcile, every few seconds; each in one worker at a time.

Started by worker/lifecycle.py. The loops do not wait for each other, because a rebuild of the queue may take minutes.
Nothing that a store does ends them.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final

import structlog

from core.db.faults import STORE_FAULTS
from core.jobs.reconcile import Reconciler
from core.jobs.sweep import BATCH, declare_dead, expire_jobs, rescue_jobs
from core.jobs.sweep_turns import SweepTurns
from core.runtime import WorkerRuntime
from core.webhooks.deliveries.recover import advance_recoveries
from core.webhooks.endpoints.settle import settle_endpoints

# A turn outlasts the pause until its holder's next round; otherwise it would change hands each time.
_TURN_PERIODS: Final = 2.5
_LEAVE_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The sweep of one worker: a loop for each step, so that a long one holds up no other."""

    runtime: WorkerRuntime
    turns: SweepTurns

    def loops(self) -> dict[str, Coroutine[object, object, None]]:
        """Each runs for ever, and does its step whenever it is this worker's turn."""
        runtime, reconciler = self.runtime, Reconciler(self.runtime.jobs)
        steps: dict[str, Callable[[], Awaitable[int]]] = {
            "judge": lambda: judge(runtime),
            "rescue": lambda: repair(runtime),
            "recover": lambda: advance_recoveries(runtime.database, runtime.jobs.enqueuer),
            "settle": lambda: settle_endpoints(runtime.database),
            "reconcile": reconciler.reconcile,
        }
        period = runtime.settings.worker.sweep_seconds
        # Who may not declare anybody dead leaves the turn to who may.
        allowed: dict[str, Callable[[], bool]] = {"judge": lambda: runtime.jobs.leases.worker.may_judge}
        return {
            name: _repeat(self.turns, name, period, step, allowed.get(name, lambda: True))
            for name, step in steps.items()
        }

    async def leave(self) -> None:
        """Releases this worker's turns, so that others need not wait for their end. Never raises."""
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self.turns.leave()
        except STORE_FAULTS as error:
            log.warning("sweep_turns_not_released", error=type(error).__name__)


def make_sweep(runtime: WorkerRuntime) -> Sweep:
    """Not running yet."""
    seconds = runtime.settings.worker.sweep_seconds * _TURN_PERIODS
    return Sweep(runtime, SweepTurns(runtime.database, runtime.jobs.leases.worker.name, seconds))


async def judge(runtime: WorkerRuntime) -> int:
    """Declares workers dead, and takes back their jobs at once. Raises on a dead database."""
    dead = await declare_dead(runtime.jobs)
    if dead:
        await _all(lambda: rescue_jobs(runtime.jobs))
    return dead


async def repair(runtime: WorkerRuntime) -> int:
    """Takes back the jobs of dead workers, and ends jobs past their deadlines. Never raises."""
    # One's fault must not stop the other.
    # guard: sweep-rescues
    await _step("rescue", lambda: _all(lambda: rescue_jobs(runtime.jobs)))
    # guard: sweep-expires
    await _step("expire", lambda: _all(lambda: expire_jobs(runtime.jobs)))
    return 0


async def _repeat(
    turns: SweepTurns, name: str, period: float, action: Callable[[], Awaitable[int]], allowed: Callable[[], bool]
) -> None:
    """Does the step for ever, whenever it is this worker's turn."""

    async def in_turn() -> int:
        if not allowed() or not await turns.take(name):
            return 0
        async with turns.kept(name):
            return await action()

    while True:
        await _step(name, in_turn)
        # Jitter keeps a fleet that was started together from asking together.
        await asyncio.sleep(period * random.uniform(0.8, 1.2))  # noqa: S311 - jitter is no secret


async def _all(repair: Callable[[], Awaitable[int]]) -> int:
    total = 0
    while (repaired := await repair()) == BATCH:
        total += repaired
    return total + repaired


async def _step(name: str, action: Callable[[], Awaitable[int]]) -> None:
    try:
        await action()
    except Exception as error:  # noqa: BLE001 - one store's fault must not stop the sweep of the other
        log.warning("sweep_failed", step=name, error=type(error).__name__)
