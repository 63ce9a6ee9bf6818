"""The loop of retention: every minute with jitter, and at once again while there is a backlog, in every worker.

Started by worker/lifecycle.py. No exception ends it.
"""

import asyncio
import random
from typing import Final

import structlog

from core.db.faults import STORE_FAULTS
from core.jobs.prune import BATCH, prune
from core.runtime import WorkerRuntime
from core.webhooks.deliveries.prune import GoneEndpoints, prune_deliveries

_PERIOD_SECONDS: Final = 60.0
_BREATH_SECONDS: Final = 0.2

log = structlog.get_logger(__name__)


async def prune_forever(runtime: WorkerRuntime) -> None:
    """Runs for ever."""
    gone_endpoints = GoneEndpoints(runtime.database)
    while True:
        pause = _PERIOD_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 - jitter is no secret
        try:
            pruned = await prune(runtime.jobs, runtime.settings.retention)
            pruned = max(pruned, await prune_deliveries(runtime.database, runtime.settings.retention))
            pruned = max(pruned, await gone_endpoints.prune())
            if pruned >= BATCH:
                pause = _BREATH_SECONDS
        except STORE_FAULTS as error:
            log.warning("prune_failed", error=type(error).__name__)
        except Exception:
            # A bug, or a row that nobody foresaw; without retention the disk fills up in silence.
            log.exception("prune_crashed")
        await asyncio.sleep(pause)
