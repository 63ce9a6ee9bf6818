"""The two loops of a worker's lease: one renews it, the other checks which runs are still this worker's.

They are separate, so that a wait of the second can't delay the first. worker/lifecycle.py starts them; no error of a
store ends them.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from core.jobs.sweep import rescue_jobs
from core.runtime import WorkerRuntime

# After a failure the lease is running out, so the next try comes sooner than the next beat.
_AGAIN_SECONDS: Final = 0.25

log = structlog.get_logger(__name__)


async def renew_forever(runtime: WorkerRuntime, on_beat: Callable[[], None]) -> None:
    """Runs for ever. The first renewal registers the worker."""
    worker = runtime.jobs.leases.worker
    while True:
        pause = worker.heartbeat_seconds
        try:
            await worker.renew()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one may work; without it all is lost
            log.warning("heartbeat_failed", error=type(error).__name__)
            pause = min(_AGAIN_SECONDS, pause)
        on_beat()
        await asyncio.sleep(pause)


async def look_forever(runtime: WorkerRuntime) -> None:
    """Runs for ever: closes the calls of runs that are over, and gives back runs that this worker does not know."""
    leases = runtime.jobs.leases
    while True:
        await asyncio.sleep(leases.worker.heartbeat_seconds)
        try:
            if unheld := await leases.look():
                log.warning("runs_given_back", count=len(unheld))
                await rescue_jobs(runtime.jobs, unheld)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("runs_not_checked", error=type(error).__name__)
