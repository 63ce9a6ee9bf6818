"""What a worker holds in Redis: claimed, renewed and finished a batch at a time, under a token for each acquisition.

Used by core/queue/worker.py only. A hold is no right to anything: it keeps other workers from asking PostgreSQL for the
same job, and losing one costs a refused claim.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from arq.connections import ArqRedis
from redis.commands.core import AsyncScript

from core.queue import scripts
from core.queue.connect import RedisFault, end_if_cancelled
from core.queue.fleet import TenantCaps
from core.queue.keys import AT_THE_FRONT, Keys, Lane
from core.queue.payload import PAYLOAD_LIFE_MS, read

MAX_BATCH: Final = 500
_AGAIN_SECONDS: Final = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Acquired:
    """A member that is held under `token`. `function` is None where the payload names none.

    One without a token was not claimed in Redis (core/queue/fallback.py).
    """

    lane: Lane
    member: str
    token: str
    function: str | None
    flow: str = ""


class Claimed(NamedTuple):
    """What a claim got; in how many seconds the next member's time comes, if this worker is to look then; whether more
    than one tenant has something running or waiting; and whether Redis has no memory left for what is new.
    """

    acquired: list[Acquired]
    due_in: float | None
    contested: bool
    full: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """A hold that is over: the member leaves the lane, or runs again in `delay` seconds; 0 is before what waits."""

    acquired: Acquired
    delay: float | None


@dataclass(frozen=True, slots=True)
class Claims:
    """The scripts of a worker that serves `lanes`. Every method but `leave` raises one of RedisFault.

    `worker` is the name on whose channel it is woken; "" for one that nobody wakes.
    """

    keys: Keys
    lanes: tuple[Lane, ...]
    lease_ms: int
    caps: TenantCaps
    worker: str
    claim_script: AsyncScript
    finish_script: AsyncScript
    heartbeat_script: AsyncScript
    leave_script: AsyncScript

    @property
    def _lane_keys(self) -> list[str]:
        return [self.keys.lane(lane) for lane in self.lanes]

    @property
    def _group(self) -> str:
        return self.keys.group(self.lanes[0])

    async def claim(self, shares: Sequence[int], kept: int = 0, rooms: Sequence[int] | None = None) -> Claimed:
        """So many of each lane, or more of the others; and `kept` more of tenants that ask for little.

        `rooms` says for each lane how many may be taken from it and those after it; None: as many as are asked for.
        """
        token, wanted = uuid.uuid4().hex, sum(shares) + kept
        caps = (int(self.caps.are_counted), self.caps.default, self.caps.own_json)
        answer = await self.claim_script(
            keys=self._lane_keys,
            args=[
                token,
                self.lease_ms,
                self._group,
                self.worker,
                kept,
                *caps,
                *shares,
                *(rooms or [wanted] * len(self.lanes)),
            ],
        )
        due_in_ms, contested, full, *rest = answer
        acquired = [
            Acquired(self.lanes[lane], _text(member), token, *read(body))
            for lane, member, body in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
        ]
        return Claimed(acquired, None if due_in_ms < 0 else due_in_ms / 1000, bool(contested), bool(full))

    async def finish(self, rows: Sequence[Finished], *, leaving: bool = False) -> int:
        """Lets go of what is still held; the rest was taken by somebody else and stays theirs.

        Returns how many of tenants at their caps may run now. A worker that is `leaving` leaves them to others.
        """
        arguments: list[str | bytes | int] = [self._group, int(leaving)]
        for row in rows:
            held = row.acquired
            delay = "" if row.delay is None else int((row.delay or AT_THE_FRONT) * 1000)
            arguments += [self.keys.lane(held.lane), _raw(held.member), held.token, delay, self._counted_flow(held)]
        try:
            return int(await self.finish_script(keys=self._lane_keys, args=arguments))
        except RedisFault:
            # The script may have run or not; it may run twice.
            await asyncio.sleep(_AGAIN_SECONDS)
            return int(await self.finish_script(keys=self._lane_keys, args=arguments))

    async def renew(self, held: Sequence[Acquired]) -> int:
        """Holds on to those that were not taken by somebody else; answers how many that are."""
        arguments: list[str | bytes | int] = [self.lease_ms, PAYLOAD_LIFE_MS, self._group]
        for each in held:
            arguments += [self.keys.lane(each.lane), _raw(each.member), each.token, self._counted_flow(each)]
        return int(await self.heartbeat_script(args=arguments))

    async def leave(self) -> None:
        """For a worker that claims no more: it is not woken from now on. Never raises."""
        try:
            await self.leave_script(args=[self._group, self.worker])
        except RedisFault as error:
            log.warning("queue_leave_failed", error=type(error).__name__)

    def _counted_flow(self, held: Acquired) -> str:
        return held.flow if self.caps.are_counted else ""


def open_claims(
    redis: ArqRedis,
    keys: Keys,
    lanes: Sequence[Lane],
    lease_seconds: float,
    *,
    caps: TenantCaps | None = None,
    worker: str = "",
) -> Claims:
    """`lease_seconds` is how long a hold lasts without a renewal."""
    return Claims(
        keys=keys,
        lanes=tuple(lanes),
        lease_ms=int(lease_seconds * 1000),
        caps=caps or TenantCaps(),
        worker=worker,
        leave_script=redis.register_script(scripts.LEAVE),
        claim_script=redis.register_script(scripts.CLAIM),
        finish_script=redis.register_script(scripts.FINISH),
        heartbeat_script=redis.register_script(scripts.HEARTBEAT),
    )


async def keep_holds(claims: Claims, ours: Callable[[], Sequence[Acquired]]) -> None:
    """For ever: renews what is `ours`, three times in a lease."""
    while True:
        await asyncio.sleep(claims.lease_ms / 3000)
        try:
            held = ours()
            for start in range(0, len(held), MAX_BATCH):
                await claims.renew(held[start : start + MAX_BATCH])
        except RedisFault as error:
            log.warning("queue_heartbeat_failed", error=type(error).__name__)
        except Exception:
            log.exception("queue_heartbeat_crashed")
        end_if_cancelled()


def _text(member: bytes) -> str:
    # A member that is not ours may be any bytes, and must come back as the same ones to be removed.
    return member.decode(errors="surrogateescape")


def _raw(member: str) -> bytes:
    return member.encode(errors="surrogateescape")
