"""Stop 3 of 9 · from core/jobs/submit.py · to worker/tasks/run_job.py

Enqueues: writes ids into Redis so that a worker starts them now. Best effort, and a submit never waits for it: when
Redis is slow or gone the batch is dropped, a breaker spares the next ones the wait, and the sweep enqueues later.
Only what PostgreSQL has as queued is enqueued, so it takes the member from whoever still holds it in Redis.
Enqueueing twice is harmless: it is the same member, and PostgreSQL lets only one claim through.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

import structlog
from arq.connections import ArqRedis

from core.domain.ids import DeliveryId, JobId, TenantId
from core.domain.run_again import NOW, After, AtFront
from core.observability.metrics import ENQUEUED, count
from core.queue.connect import RedisFault
from core.queue.keys import Keys, Lane, delivery_member, job_member
from core.queue.payload import DELIVER_WEBHOOK, RUN_JOB, payload
from core.queue.scripts import EnqueueCall, EnqueueRow, Scripts

_BREAK_SECONDS: Final = 1.0
_MAX_PENDING: Final = 50_000
_MAX_BATCH: Final = 500
# A member's score lies ahead by a lease at most while it is held; further ahead, Redis and PostgreSQL disagree.
_PUT_OFF_SECONDS: Final = 120

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One id to enqueue, for a task of that name; `flow` is whose turn it takes, "" for nobody's."""

    lane: Lane
    member: str
    function: str
    when: AtFront | After = NOW
    flow: str = ""


def job_entry(
    job_id: JobId, lane: Lane, when: AtFront | After = NOW, *, tenant_id: TenantId | None = None
) -> QueueEntry:
    """A job takes turns with those of other tenants."""
    return QueueEntry(lane, job_member(job_id), RUN_JOB, when, "" if tenant_id is None else tenant_id.hex)


def delivery_entry(delivery_id: DeliveryId, tenant_id: TenantId, delay: float = 0.0) -> QueueEntry:
    """Due in `delay` seconds. As a job, a delivery takes turns with those of other tenants."""
    when = After(delay) if delay else NOW
    return QueueEntry(Lane.DELIVERIES, delivery_member(delivery_id), DELIVER_WEBHOOK, when, tenant_id.hex)


def open_enqueuer(redis: ArqRedis, keys: Keys, timeout: float, lane_limit: int = 100_000) -> "Enqueuer":
    """`timeout` bounds a flush, in seconds; `lane_limit` is how many ids a lane holds."""
    return Enqueuer(redis, keys, timeout, lane_limit, Scripts(redis))


@dataclass(slots=True)
class Enqueuer:
    """Writes ids into Redis and publishes messages, for a whole process: many at a time, in the background."""

    redis: ArqRedis
    keys: Keys
    timeout: float
    lane_limit: int
    scripts: Scripts
    _pending: list[QueueEntry] = field(default_factory=list)
    _cancelled: list[str] = field(default_factory=list)
    _changed: list[str] = field(default_factory=list)
    _flush: "asyncio.Task[None] | None" = None
    _open_until: float = 0.0

    def enqueue(self, *entries: QueueEntry) -> None:
        """Enqueues soon. Returns at once and never fails; what does not fit is left to the sweep."""
        if entries:
            self._pending.extend(entries[: max(0, _MAX_PENDING - len(self._pending))])
            self._wake()

    def publish_change(self, job_id: JobId) -> None:
        """Wakes those who wait for the job, in any process."""
        self._changed.append(job_member(job_id))
        self._wake()

    def publish_cancel(self, job_id: JobId) -> None:
        """Makes the worker that runs the job close its call."""
        self._cancelled.append(job_member(job_id))
        self.publish_change(job_id)

    async def enqueue_now(self, entries: Sequence[QueueEntry]) -> int:
        """Enqueues and waits for Redis: the sweep's way. Raises one of RedisFault.

        Returns how many were left out because their lane is full; the sweep enqueues them when there is room.
        """
        by_lane: dict[Lane, list[QueueEntry]] = defaultdict(list)
        for entry in entries:
            by_lane[entry.lane].append(entry)
        left_out = 0
        for lane, batch in by_lane.items():
            call = EnqueueCall(self.keys.group(lane), self.lane_limit, [_row(each) for each in batch])
            left_out += await self.scripts.enqueue(self.keys.lane(lane), call)
        count(ENQUEUED, "ok", by=len(entries) - left_out)
        if left_out:
            count(ENQUEUED, "lane_full", by=left_out)
        return left_out

    async def missing(self, lane: Lane, entries: Sequence[QueueEntry]) -> list[QueueEntry]:
        """Those of `entries`, which are due, that Redis does not know or has put off. Raises one of RedisFault."""
        if not entries:
            return []
        seconds, _ = await self.redis.time()
        latest = (seconds + _PUT_OFF_SECONDS) * 1000
        scores = await self.redis.zmscore(self.keys.lane(lane), [each.member for each in entries])
        absent = [each for each, score in zip(entries, scores, strict=True) if score is None or score > latest]
        by_flow: dict[str, list[QueueEntry]] = defaultdict(list)
        for each in absent:
            by_flow[each.flow].append(each)
        found: list[QueueEntry] = []
        for flow, members in by_flow.items():
            parked = await self.redis.zmscore(self.keys.parked(lane, flow), [each.member for each in members])
            found += [each for each, score in zip(members, parked, strict=True) if score is None]
        return found

    async def has_room(self, lane: Lane) -> bool:
        """Whether the lane takes more ids. Raises one of RedisFault."""
        return int(await self.redis.zcard(self.keys.lane(lane))) < self.lane_limit

    async def epoch_is_gone(self) -> bool:
        """Whether Redis has lost its memory since the epoch was marked. Raises one of RedisFault."""
        return not await self.redis.exists(self.keys.epoch)

    async def answers(self, seconds: float) -> bool:
        """Whether Redis runs a command within `seconds`. Raises nothing but CancelledError."""
        try:
            async with asyncio.timeout(seconds):
                return bool(await self.redis.ping())
        except RedisFault:
            return False

    async def mark_epoch(self) -> None:
        """Notes that Redis holds the whole queue again."""
        await self.redis.set(self.keys.epoch, "1")

    async def aclose(self) -> None:
        """Enqueues what is pending, within the timeout."""
        if self._flush is not None:
            await asyncio.wait([self._flush], timeout=1.0)

    def _wake(self) -> None:
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._run(), name="enqueue")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pending or self._changed:
            batch, self._pending = self._pending[:_MAX_BATCH], self._pending[_MAX_BATCH:]
            changed, self._changed = self._changed, []
            cancelled, self._cancelled = self._cancelled, []
            if loop.time() < self._open_until:
                count(ENQUEUED, "skipped", by=len(batch))
                continue
            try:
                async with asyncio.timeout(self.timeout):
                    await self._send(batch, changed, cancelled)
            except RedisFault as error:
                self._open_until = loop.time() + _BREAK_SECONDS
                count(ENQUEUED, "failed", by=len(batch))
                log.warning("enqueue_failed", error=type(error).__name__, entries=len(batch))

    async def _send(self, batch: Sequence[QueueEntry], changed: Sequence[str], cancelled: Sequence[str]) -> None:
        if batch:
            await self.enqueue_now(batch)
        if cancelled:
            await self.redis.publish(self.keys.cancelled, " ".join(cancelled))
        if changed:
            await self.redis.publish(self.keys.changed, " ".join(changed))


def _row(entry: QueueEntry) -> EnqueueRow:
    body = payload(entry.function, entry.member, entry.flow).decode()
    match entry.when:
        case AtFront():
            return EnqueueRow(entry.member, body, entry.flow, delay_ms=0, at_front=True)
        case After(milliseconds=delay_ms):
            return EnqueueRow(entry.member, body, entry.flow, delay_ms=delay_ms, at_front=False)
        case _ as never:
            assert_never(never)
