"""Compares PostgreSQL with Redis and rings what is due but missing there: jobs and deliveries.

Run by worker/tasks/sweep.py. Nothing is written to PostgreSQL: a window of due rows is read in order, Redis is asked
which of them it knows, and the others are rung. When Redis lost its memory (the epoch key is gone) the whole backlog
is rung again, interactive first, at a bounded rate; the claim drops whatever is rung twice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from core.db.session import hot_statement
from core.domain.ids import DeliveryId, JobId, TenantId
from core.jobs.context import RunContext
from core.jobs.statements import statement
from core.observability.metrics import SWEPT, count
from core.queue.keys import JOB_LANES, Lane
from core.queue.ring import Ringing, ring_delivery, ring_job

_WINDOW: Final = 1000
_WINDOWS_A_SWEEP: Final = 10
# A full rebuild rings at most this many a second, so that live traffic is not drowned by it.
_REBUILD_PAUSE_SECONDS: Final = _WINDOW / 20_000
_START: Final = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
_ALL_LANES: Final = (*JOB_LANES, Lane.DELIVERIES)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reconciler:
    """Remembers how far each lane has been compared."""

    context: RunContext
    _position: dict[Lane, tuple[datetime, UUID]] = field(default_factory=dict)

    async def reconcile(self) -> int:
        """Compares the next windows of every lane; all of them after a loss. Raises RedisFault or database errors."""
        ring = self.context.ring
        rebuilding = await ring.epoch_is_gone()
        if rebuilding:
            log.warning("redis_lost_its_memory")
            self._position.clear()
        rung = 0
        for lane in _ALL_LANES:
            for _ in range(1_000_000 if rebuilding else _WINDOWS_A_SWEEP):
                found, missing = await self._window(lane)
                rung += missing
                if found < _WINDOW:
                    break
                if rebuilding:
                    await asyncio.sleep(_REBUILD_PAUSE_SECONDS)
        if rebuilding:
            await ring.mark_epoch()
        return rung

    async def _window(self, lane: Lane) -> tuple[int, int]:
        """How many due rows the next window has, and how many of them Redis did not know."""
        position = self._position.get(lane, _START)
        async with hot_statement(self.context.database) as connection:
            if lane is Lane.DELIVERIES:
                rows = await connection.fetch(statement("due_deliveries"), _WINDOW, *position)
            else:
                rows = await connection.fetch(statement("due"), lane.value, _WINDOW, *position)
        if len(rows) < _WINDOW:
            self._position.pop(lane, None)
        else:
            self._position[lane] = (rows[-1]["due_at"], rows[-1]["id"])
        missing = await self.context.ring.missing(lane, [_ringing(lane, row) for row in rows])
        await self._ring(missing)
        return len(rows), len(missing)

    async def _ring(self, missing: Sequence[Ringing]) -> None:
        if missing:
            await self.context.ring.ring_now(missing)
            count(SWEPT, "rung", by=len(missing))
            log.info("swept_rung", lane=missing[0].lane.value, count=len(missing))


def _ringing(lane: Lane, row: asyncpg.Record) -> Ringing:
    if lane is Lane.DELIVERIES:
        return ring_delivery(DeliveryId(row["id"]))
    return ring_job(JobId(row["id"]), lane, tenant_id=TenantId(row["tenant_id"]))
