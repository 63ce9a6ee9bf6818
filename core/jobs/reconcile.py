"""Compares PostgreSQL with Redis and enqueues what is due but missing there: jobs and deliveries.

Run by worker/tasks/sweep.py. Nothing is written to PostgreSQL: due rows are read in order, Redis is asked which of them
it knows, and the others enqueued: the first ones of each tenant, then a window of all. A lane holds a limited number
of ids; the rest is enqueued when there is room. When Redis lost its memory (the epoch key is gone) the backlog is
enqueued again, interactive first, at a bounded rate; the claim drops what was enqueued twice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from core.db.session import hot_statement
from core.db.statements import Statement
from core.domain.ids import JobId, TenantId
from core.domain.job_state import JobState
from core.jobs.context import RunContext
from core.jobs.due_deliveries import EVERY_TARGET, TARGETS, DeliveryWalk
from core.observability.metrics import SWEPT, count
from core.queue.enqueue import QueueEntry, delivery_entry, job_entry
from core.queue.keys import JOB_LANES, Lane

_WINDOW: Final = 1000
_WINDOWS_A_SWEEP: Final = 10
# While there is more than a lane holds, what it knows already must be passed over fast.
_WINDOWS_A_REFILL: Final = 200
# Rows at the heads of the tenants' lines, in a sweep and lane; and the tenants that share them.
_HEADS: Final = 10_000
_HEADS_OF_ONE: Final = 2000
_TENANTS: Final = 200
# A full rebuild enqueues at most this many a second, so that live traffic is not drowned by it.
_REBUILD_PAUSE_SECONDS: Final = _WINDOW / 20_000
_START: Final = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))

DUE: Final = Statement("core/jobs/sql/due.sql")
DUE_HEADS: Final = Statement("core/jobs/sql/due_heads.sql")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Reconciler:
    """Remembers how far each lane has been compared, and which lanes have left something out."""

    context: RunContext
    _position: dict[Lane, tuple[datetime, UUID]] = field(default_factory=dict)
    _overflowed: set[Lane] = field(default_factory=set)
    _tenant: dict[Lane, UUID] = field(default_factory=dict)
    _tenants: dict[Lane, int] = field(default_factory=dict)
    _walk: DeliveryWalk = field(init=False)

    def __post_init__(self) -> None:
        self._walk = DeliveryWalk(self.context.database)

    async def reconcile(self) -> int:
        """Compares the next rows of every lane, all after a loss. Raises RedisFault or database errors."""
        enqueuer = self.context.enqueuer
        rebuilding = await enqueuer.epoch_is_gone()
        if rebuilding:
            log.warning("redis_lost_its_memory")
            self._position.clear()
            self._walk.restart()
        enqueued = sum([await self._heads(lane) for lane in JOB_LANES])
        for lane in JOB_LANES:
            enqueued += await self._windows(lane, rebuilding=rebuilding)
        enqueued += await self._deliveries(rebuilding=rebuilding)
        if rebuilding:
            await enqueuer.mark_epoch()
        return enqueued

    async def _heads(self, lane: Lane) -> int:
        """Enqueues the first jobs of each tenant, so that none waits behind another tenant's backlog."""
        after, tenants = self._tenant.get(lane, _START[1]), self._tenants.get(lane, 1)
        each = max(_HEADS // _TENANTS, min(_HEADS_OF_ONE, _HEADS // tenants))
        async with hot_statement(self.context.database) as connection:
            rows = await DUE_HEADS.fetch(
                connection,
                lane=lane,
                after_tenant=after,
                tenants=_TENANTS,
                jobs_each=each,
                running=JobState.RUNNING,
            )
        self._tenants[lane] = max(1, len(rows))
        self._tenant[lane] = rows[-1]["tenant_id"] if len(rows) == _TENANTS else _START[1]
        due = [
            job_entry(JobId(job_id), lane, tenant_id=TenantId(row["tenant_id"]))
            for row in rows
            for job_id in row["ids"]
        ]
        enqueued = 0
        for start in range(0, len(due), _WINDOW):
            missing, left_out = await self._enqueue_missing(lane, due[start : start + _WINDOW])
            enqueued += missing - left_out
        return enqueued

    async def _windows(self, lane: Lane, *, rebuilding: bool) -> int:
        enqueued, most = 0, _WINDOWS_A_REFILL if lane in self._overflowed else _WINDOWS_A_SWEEP
        if lane in self._overflowed and not await self.context.enqueuer.has_room(lane):
            return 0
        for _ in range(1_000_000 if rebuilding else most):
            found, missing, left_out = await self._window(lane)
            enqueued += missing - left_out
            if left_out or found < _WINDOW:
                break
            if rebuilding:
                await asyncio.sleep(_REBUILD_PAUSE_SECONDS)
        return enqueued

    async def _window(self, lane: Lane) -> tuple[int, int, int]:
        """How many due rows the next window has, how many Redis did not know, and for how many it had no room."""
        after_time, after_id = self._position.get(lane, _START)
        async with hot_statement(self.context.database) as connection:
            rows = await DUE.fetch(connection, lane=lane, most=_WINDOW, after_time=after_time, after_id=after_id)
        due = [job_entry(JobId(row["id"]), lane, tenant_id=TenantId(row["tenant_id"])) for row in rows]
        missing, left_out = await self._enqueue_missing(lane, due)
        if left_out:
            # From here again when there is room: what came before is known.
            self._overflowed.add(lane)
        elif len(rows) < _WINDOW:
            self._position.pop(lane, None)
            self._overflowed.discard(lane)
        else:
            self._position[lane] = (rows[-1]["due_at"], rows[-1]["id"])
        return len(rows), missing, left_out

    async def _deliveries(self, *, rebuilding: bool) -> int:
        """Compares deliveries, tenant by tenant. Returns how many were enqueued."""
        due = await self._walk.lost(_WINDOW)
        enqueued = 0
        for _ in range(1_000_000 if rebuilding else _WINDOWS_A_SWEEP):
            found, more = await self._walk.look(EVERY_TARGET if rebuilding else TARGETS)
            due += found
            while due:
                window, due = due[:_WINDOW], due[_WINDOW:]
                missing, left_out = await self._enqueue_missing(
                    Lane.DELIVERIES, [delivery_entry(*each) for each in window]
                )
                enqueued += missing - left_out
                if rebuilding:
                    await asyncio.sleep(_REBUILD_PAUSE_SECONDS)
            if not more:
                break
        return enqueued

    async def _enqueue_missing(self, lane: Lane, due: Sequence[QueueEntry]) -> tuple[int, int]:
        """How many of `due` Redis did not know, and for how many of these it had no room."""
        missing = await self.context.enqueuer.missing(lane, due)
        if not missing:
            return 0, 0
        # guard: reconcile-enqueues
        left_out = await self.context.enqueuer.enqueue_now(missing)
        if left_out < len(missing):
            count(SWEPT, "enqueued", by=len(missing) - left_out)
            log.info("sweep_enqueued", lane=lane.value, count=len(missing) - left_out)
        return len(missing), left_out
