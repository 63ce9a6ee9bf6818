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
_NOBODY: Final = UUID(int=0)
_START: Final = (datetime(1970, 1, 1, tzinfo=UTC), _NOBODY)
# Of deliveries, a window is of so many tenants, and of so many targets of each; in a rebuild of every target.
_TENANTS: Final = 100
_TARGETS: Final = 100
_EVERY_TARGET: Final = 1_000_000_000

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reconciler:
    """Remembers how far each lane has been compared."""

    context: RunContext
    _position: dict[Lane, tuple[datetime, UUID]] = field(default_factory=dict)
    # The last tenant of the last window; and, of a tenant with more targets than one look takes, the last target.
    _tenant: UUID = _NOBODY
    _targets: dict[UUID, tuple[UUID, str]] = field(default_factory=dict)

    async def reconcile(self) -> int:
        """Compares the next windows of every lane; all of them after a loss. Raises RedisFault or database errors."""
        ring = self.context.ring
        rebuilding = await ring.epoch_is_gone()
        if rebuilding:
            log.warning("redis_lost_its_memory")
            self._position.clear()
            self._targets.clear()
            self._tenant = _NOBODY
        rung = 0
        for lane in JOB_LANES:
            for _ in range(1_000_000 if rebuilding else _WINDOWS_A_SWEEP):
                found, missing = await self._window(lane)
                rung += missing
                if found < _WINDOW:
                    break
                if rebuilding:
                    await asyncio.sleep(_REBUILD_PAUSE_SECONDS)
        rung += await self._deliveries(rebuilding=rebuilding)
        if rebuilding:
            await ring.mark_epoch()
        return rung

    async def _window(self, lane: Lane) -> tuple[int, int]:
        """How many due rows the next window has, and how many of them Redis did not know."""
        position = self._position.get(lane, _START)
        async with hot_statement(self.context.database) as connection:
            rows = await connection.fetch(statement("due"), lane.value, _WINDOW, *position)
        if len(rows) < _WINDOW:
            self._position.pop(lane, None)
        else:
            self._position[lane] = (rows[-1]["due_at"], rows[-1]["id"])
        ringings = [ring_job(JobId(row["id"]), lane, tenant_id=TenantId(row["tenant_id"])) for row in rows]
        return len(rows), await self._enqueue_missing(lane, ringings)

    async def _deliveries(self, *, rebuilding: bool) -> int:
        """Compares deliveries, tenant by tenant. Returns how many Redis did not know."""
        async with hot_statement(self.context.database) as connection:
            rows = await connection.fetch(statement("lost_deliveries"), _WINDOW)
        due = [(DeliveryId(row["id"]), TenantId(row["tenant_id"])) for row in rows]
        enqueued = 0
        for _ in range(1_000_000 if rebuilding else _WINDOWS_A_SWEEP):
            found, more = await self._due_deliveries(_EVERY_TARGET if rebuilding else _TARGETS)
            due += found
            while due:
                window, due = due[:_WINDOW], due[_WINDOW:]
                enqueued += await self._enqueue_missing(Lane.DELIVERIES, [ring_delivery(*each) for each in window])
                if rebuilding:
                    await asyncio.sleep(_REBUILD_PAUSE_SECONDS)
            if not more:
                break
        return enqueued

    async def _due_deliveries(self, targets: int) -> tuple[list[tuple[DeliveryId, TenantId]], bool]:
        """Those of the next tenants, and whether there are more tenants."""
        known = self._targets
        async with hot_statement(self.context.database) as connection:
            rows = await connection.fetch(
                statement("due_deliveries"), _TENANTS, self._tenant, targets,
                list(known), [target for target, _ in known.values()], [host for _, host in known.values()],
            )  # fmt: skip
        for row in rows:
            if row["looked_at"] < targets:
                known.pop(row["tenant_id"], None)
            else:
                known[row["tenant_id"]] = (row["target"], row["host"])
        more = len(rows) == _TENANTS
        self._tenant = max(row["tenant_id"] for row in rows) if more else _NOBODY
        found = [(DeliveryId(each), TenantId(row["tenant_id"])) for row in rows for each in row["delivery_ids"]]
        return found, more

    async def _enqueue_missing(self, lane: Lane, ringings: Sequence[Ringing]) -> int:
        missing = await self.context.ring.missing(lane, ringings)
        await self._ring(missing)
        return len(missing)

    async def _ring(self, missing: Sequence[Ringing]) -> None:
        if missing:
            await self.context.ring.ring_now(missing)
            count(SWEPT, "rung", by=len(missing))
            log.info("swept_rung", lane=missing[0].lane.value, count=len(missing))
