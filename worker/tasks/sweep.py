"""The sweep's loop: rescue, expire, recover, reconcile, every few seconds with jitter, in every worker.

Started by worker/lifecycle.py. Nothing that a store does ends it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from core.jobs.reconcile import Reconciler
from core.jobs.sweep import BATCH, declare_dead, expire_jobs, rescue_jobs
from core.runtime import WorkerRuntime
from core.webhooks.recover import advance_recoveries
from core.webhooks.settle import settle_endpoints

log = structlog.get_logger(__name__)


async def sweep(runtime: WorkerRuntime) -> None:
    """Runs for ever."""
    reconciler = Reconciler(runtime.jobs)
    period = runtime.settings.worker.sweep_seconds
    while True:
        await _step("declare_dead", lambda: declare_dead(runtime.jobs))
        await _step("rescue", lambda: _all(lambda: rescue_jobs(runtime.jobs)))
        await _step("expire", lambda: _all(lambda: expire_jobs(runtime.jobs)))
        await _step("recover", lambda: advance_recoveries(runtime.database, runtime.jobs.ring))
        await _step("settle", lambda: settle_endpoints(runtime.database))
        await _step("reconcile", reconciler.reconcile)
        # Jitter keeps a fleet that was started together from sweeping together.
        await asyncio.sleep(period * random.uniform(0.8, 1.2))  # noqa: S311 - jitter is no secret


async def _all(mend: Callable[[], Awaitable[int]]) -> int:
    total = 0
    while (mended := await mend()) == BATCH:
        total += mended
    return total + mended


async def _step(name: str, action: Callable[[], Awaitable[int]]) -> None:
    try:
        await action()
    except Exception as error:  # noqa: BLE001 - one store's fault must not stop the sweep of the other
        log.warning("sweep_failed", step=name, error=type(error).__name__)
