"""Stop 3 of 9 · from core/jobs/submit.py · to worker/tasks/run_job.py

Rings: writes ids into Redis so that a worker starts them now. Best effort and never awaited by who submits: when
Redis is slow or gone the batch is dropped, a breaker spares the next ones the wait, and the sweep rings later.
Only what PostgreSQL has as queued is rung, so a ring takes the member from whoever still holds it in Redis. Ringing
twice is harmless: it is the same member, and PostgreSQL lets only one claim through.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from arq.connections import ArqRedis
from redis.commands.core import AsyncScript

from core.domain.ids import DeliveryId, JobId, TenantId
from core.observability.metrics import RINGS, count
from core.queue import ring_script
from core.queue.connect import RedisFault
from core.queue.keys import Keys, Lane, delivery_member, job_member
from core.queue.payload import DELIVER_WEBHOOK, PAYLOAD_LIFE_MS, RUN_JOB, payload

_BREAK_SECONDS: Final = 1.0
_MAX_PENDING: Final = 50_000
_MAX_BATCH: Final = 500
# A member's score lies ahead by a lease at most while it is held; further ahead, Redis and PostgreSQL disagree.
_PUT_OFF_SECONDS: Final = 120

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ringing:
    """One id to ring, `delay` seconds from now; AT_THE_FRONT puts it before what waits in its lane."""

    lane: Lane
    member: str
    function: str
    delay: float = 0.0
    flow: str = ""


def ring_job(job_id: JobId, lane: Lane, delay: float = 0.0, *, tenant_id: TenantId | None = None) -> Ringing:
    """A job takes turns with those of other tenants."""
    return Ringing(lane, job_member(job_id), RUN_JOB, delay, "" if tenant_id is None else tenant_id.hex)


def ring_delivery(delivery_id: DeliveryId, tenant_id: TenantId, delay: float = 0.0) -> Ringing:
    """As a job, a delivery takes turns with those of other tenants."""
    return Ringing(Lane.DELIVERIES, delivery_member(delivery_id), DELIVER_WEBHOOK, delay, tenant_id.hex)


def open_ring(redis: ArqRedis, keys: Keys, timeout: float, lane_limit: int = 100_000) -> "Ring":
    """`timeout` bounds a flush, in seconds; `lane_limit` is how many ids a lane holds."""
    return Ring(redis, keys, timeout, lane_limit, redis.register_script(ring_script.RING))


@dataclass(slots=True)
class Ring:
    """The one ringer of a process."""

    redis: ArqRedis
    keys: Keys
    timeout: float
    lane_limit: int
    script: AsyncScript
    _pending: list[Ringing] = field(default_factory=list)
    _cancelled: list[str] = field(default_factory=list)
    _changed: list[str] = field(default_factory=list)
    _flush: "asyncio.Task[None] | None" = None
    _open_until: float = 0.0

    def ring(self, *ringings: Ringing) -> None:
        """Rings soon. Returns at once and never fails; what does not fit is left to the sweep."""
        if ringings:
            self._pending.extend(ringings[: max(0, _MAX_PENDING - len(self._pending))])
            self._wake()

    def announce_change(self, job_id: JobId) -> None:
        """Tells those who wait for the job, anywhere, to look again."""
        self._changed.append(job_member(job_id))
        self._wake()

    def announce_cancel(self, job_id: JobId) -> None:
        """Tells the worker that runs the job to close its call."""
        self._cancelled.append(job_member(job_id))
        self.announce_change(job_id)

    async def ring_now(self, ringings: Sequence[Ringing]) -> int:
        """Enqueues and waits for Redis: the sweep's way. Raises one of RedisFault.

        Returns how many were left out because their lane is full; the sweep enqueues them when there is room.
        """
        by_lane: dict[Lane, list[Ringing]] = defaultdict(list)
        for ringing in ringings:
            by_lane[ringing.lane].append(ringing)
        left_out = 0
        for lane, batch in by_lane.items():
            arguments: list[str | bytes | int] = [self.keys.group(lane), PAYLOAD_LIFE_MS, self.lane_limit]
            for each in batch:
                arguments += [
                    each.member,
                    int(each.delay * 1000),
                    payload(each.function, each.member, each.flow),
                    each.flow,
                ]
            left_out += int(await self.script(keys=[self.keys.lane(lane)], args=arguments))
        count(RINGS, "ok", by=len(ringings) - left_out)
        if left_out:
            count(RINGS, "lane_full", by=left_out)
        return left_out

    async def missing(self, lane: Lane, ringings: Sequence[Ringing]) -> list[Ringing]:
        """Those of `ringings`, which are due, that Redis does not know or has put off. Raises one of RedisFault."""
        if not ringings:
            return []
        seconds, _ = await self.redis.time()
        latest = (seconds + _PUT_OFF_SECONDS) * 1000
        scores = await self.redis.zmscore(self.keys.lane(lane), [each.member for each in ringings])
        absent = [each for each, score in zip(ringings, scores, strict=True) if score is None or score > latest]
        by_flow: dict[str, list[Ringing]] = defaultdict(list)
        for each in absent:
            by_flow[each.flow].append(each)
        found: list[Ringing] = []
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
        """The queue is whole again."""
        await self.redis.set(self.keys.epoch, "1")

    async def aclose(self) -> None:
        """Rings what is pending, within the timeout."""
        if self._flush is not None:
            await asyncio.wait([self._flush], timeout=1.0)

    def _wake(self) -> None:
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._run(), name="ring")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pending or self._changed:
            batch, self._pending = self._pending[:_MAX_BATCH], self._pending[_MAX_BATCH:]
            changed, self._changed = self._changed, []
            cancelled, self._cancelled = self._cancelled, []
            if loop.time() < self._open_until:
                count(RINGS, "skipped", by=len(batch))
                continue
            try:
                async with asyncio.timeout(self.timeout):
                    await self._send(batch, changed, cancelled)
            except RedisFault as error:
                self._open_until = loop.time() + _BREAK_SECONDS
                count(RINGS, "failed", by=len(batch))
                log.warning("ring_failed", error=type(error).__name__, rings=len(batch))

    async def _send(self, batch: Sequence[Ringing], changed: Sequence[str], cancelled: Sequence[str]) -> None:
        if batch:
            await self.ring_now(batch)
        if cancelled:
            await self.redis.publish(self.keys.cancelled, " ".join(cancelled))
        if changed:
            await self.redis.publish(self.keys.changed, " ".join(changed))
