"""What a worker holds in Redis: claimed, renewed and finished a batch at a time, under a token for each acquisition.

Used by core/queue/worker.py only. A hold is no right to anything: it keeps other workers from asking PostgreSQL for the
same job, and losing one costs a refused claim.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from arq.connections import ArqRedis
from redis.commands.core import AsyncScript

from core.queue import scripts
from core.queue.connect import RedisFault
from core.queue.keys import AT_THE_FRONT, Keys, Lane
from core.queue.payload import PAYLOAD_LIFE_MS, function_of

_AGAIN_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Acquired:
    """A member that is held under `token`. `function` is None where the payload names none."""

    lane: Lane
    member: str
    token: str
    function: str | None


class Claimed(NamedTuple):
    """What a claim got; in how many seconds the next member's time comes, if any waits for one; and whether more than
    one tenant has jobs in a lane.
    """

    acquired: list[Acquired]
    due_in: float | None
    contested: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """A hold that is over: the member leaves the lane, or runs again in `delay` seconds; 0 is before what waits."""

    acquired: Acquired
    delay: float | None


@dataclass(frozen=True, slots=True)
class Claims:
    """The three scripts of a worker that serves `lanes`. Every method raises one of RedisFault."""

    keys: Keys
    lanes: tuple[Lane, ...]
    lease_ms: int
    claim_script: AsyncScript
    finish_script: AsyncScript
    heartbeat_script: AsyncScript

    async def claim(self, shares: Sequence[int], kept: int = 0) -> Claimed:
        """So many of each lane, or more of the others; and `kept` more of tenants that ask for little."""
        token = uuid.uuid4().hex
        answer = await self.claim_script(
            keys=[self.keys.lane(lane) for lane in self.lanes], args=[token, self.lease_ms, kept, *shares]
        )
        due_in_ms, contested, *rest = answer
        acquired = [
            Acquired(self.lanes[lane], _text(member), token, function_of(body))
            for lane, member, body in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
        ]
        return Claimed(acquired, None if due_in_ms < 0 else due_in_ms / 1000, bool(contested))

    async def finish(self, rows: Sequence[Finished]) -> None:
        """Lets go of what is still held; the rest was taken by somebody else and stays theirs."""
        # Other workers learn at once of what is due at once: this one may be on its way out.
        arguments: list[str | bytes | int] = [self.keys.wake, self.lanes[0].value]
        for row in rows:
            held = row.acquired
            delay = "" if row.delay is None else int((row.delay or AT_THE_FRONT) * 1000)
            arguments += [self.keys.lane(held.lane), _raw(held.member), held.token, delay]
        try:
            await self.finish_script(args=arguments)
        except RedisFault:
            # The script may have run or not; it may run twice.
            await asyncio.sleep(_AGAIN_SECONDS)
            await self.finish_script(args=arguments)

    async def renew(self, held: Sequence[Acquired]) -> int:
        """Holds on to those that were not taken by somebody else; answers how many that are."""
        arguments: list[str | bytes | int] = [self.lease_ms, PAYLOAD_LIFE_MS]
        for each in held:
            arguments += [self.keys.lane(each.lane), _raw(each.member), each.token]
        return int(await self.heartbeat_script(args=arguments))


def open_claims(redis: ArqRedis, keys: Keys, lanes: Sequence[Lane], lease_seconds: float) -> Claims:
    """`lease_seconds` is how long a hold lasts without a renewal."""
    return Claims(
        keys=keys,
        lanes=tuple(lanes),
        lease_ms=int(lease_seconds * 1000),
        claim_script=redis.register_script(scripts.CLAIM),
        finish_script=redis.register_script(scripts.FINISH),
        heartbeat_script=redis.register_script(scripts.HEARTBEAT),
    )


def _text(member: bytes) -> str:
    # A member that is not ours may be any bytes, and must come back as the same ones to be removed.
    return member.decode(errors="surrogateescape")


def _raw(member: str) -> bytes:
    return member.encode(errors="surrogateescape")
