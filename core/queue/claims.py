"""What a worker holds in Redis: claimed, renewed and finished a batch at a time, under a token for each acquisition.

Used by core/queue/worker.py only. A hold gives no right to run a job: it keeps other workers from asking PostgreSQL for
the same one, and losing it costs a refused claim.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import structlog
from arq.connections import ArqRedis

from core.domain.run_again import After, AtFront, Done, RunAgain
from core.queue.connect import RedisFault, end_if_cancelled
from core.queue.fleet import TenantCaps
from core.queue.keys import Keys, Lane
from core.queue.payload import read
from core.queue.scripts import ClaimCall, FinishCall, FinishRow, Hold, LeaveCall, RenewCall, Scripts

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


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim got; in how many seconds the next member's time comes, if this worker is to look then; whether more
    than one tenant has something running or waiting; and whether Redis has no memory left for what is new.
    """

    acquired: list[Acquired]
    due_in: float | None
    contested: bool
    full: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """A hold that is over: the member leaves the lane, or runs again."""

    acquired: Acquired
    again: RunAgain


@dataclass(frozen=True, slots=True)
class Claims:
    """What a worker that serves `lanes` asks of Redis. Every method but `leave` raises one of RedisFault.

    `worker` is the name on whose channel it is woken; "" for one that nobody wakes.
    """

    keys: Keys
    lanes: tuple[Lane, ...]
    lease_ms: int
    caps: TenantCaps
    worker: str
    scripts: Scripts

    @property
    def _lane_keys(self) -> list[str]:
        return [self.keys.lane(lane) for lane in self.lanes]

    @property
    def _group(self) -> str:
        return self.keys.group(self.lanes[0])

    async def claim(self, shares: Sequence[int], kept: int = 0, rooms: Sequence[int] | None = None) -> Claimed:
        """Takes `shares` of each lane, or more of the others; and `kept` more of tenants that ask for little.

        `rooms` says for each lane how many may be taken from it and those after it; None: as many as are asked for.
        """
        token, wanted = uuid.uuid4().hex, sum(shares) + kept
        reply = await self.scripts.claim(
            self._lane_keys,
            ClaimCall(
                group=self._group,
                worker=self.worker,
                token=token,
                lease_ms=self.lease_ms,
                kept=kept,
                counts_flows=self.caps.are_counted,
                cap=self.caps.default,
                own_caps=self.caps.own,
                shares=shares,
                rooms=rooms or [wanted] * len(self.lanes),
            ),
        )
        acquired = [
            # A member that is not ours may be any bytes, and must come back as the same ones to be removed.
            Acquired(self.lanes[lane], member.decode(errors="surrogateescape"), token, *read(payload))
            for lane, member, payload in reply.taken
        ]
        due_in = None if reply.due_in_ms is None else reply.due_in_ms / 1000
        return Claimed(acquired, due_in, reply.contested, reply.full)

    async def finish(self, rows: Sequence[Finished], *, leaving: bool = False) -> int:
        """Lets go of what is still held; the rest was taken by somebody else and stays theirs.

        Returns how many of tenants at their caps may run now. A worker that is `leaving` leaves them to others.
        """
        call = FinishCall(self._group, leaving, [self._finish_row(row) for row in rows])
        try:
            return await self.scripts.finish(self._lane_keys, call)
        except RedisFault:
            # The script may have run or not; it may run twice.
            await asyncio.sleep(_AGAIN_SECONDS)
            return await self.scripts.finish(self._lane_keys, call)

    async def renew(self, held: Sequence[Acquired]) -> int:
        """Keeps those that were not taken by somebody else. Returns how many that are."""
        holds = [Hold(self.keys.lane(each.lane), each.member, each.token, self._counted_flow(each)) for each in held]
        return await self.scripts.renew_holds(RenewCall(self._group, self.lease_ms, holds))

    async def leave(self) -> None:
        """For a worker that claims no more: it is not woken from now on. Never raises."""
        try:
            await self.scripts.leave(LeaveCall(self._group, self.worker))
        except RedisFault as error:
            log.warning("queue_leave_failed", error=type(error).__name__)

    def _finish_row(self, row: Finished) -> FinishRow:
        held = row.acquired
        lane, flow = self.keys.lane(held.lane), self._counted_flow(held)
        match row.again:
            case Done():
                return FinishRow(lane, held.member, held.token, flow, "done", 0)
            case AtFront():
                return FinishRow(lane, held.member, held.token, flow, "front", 0)
            case After(milliseconds=delay_ms):
                return FinishRow(lane, held.member, held.token, flow, "after", delay_ms)
            case _ as never:
                assert_never(never)

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
        scripts=Scripts(redis),
    )


async def keep_holds(claims: Claims, ours: Callable[[], Sequence[Acquired]]) -> None:
    """Runs for ever: renews what is `ours`, three times in a lease."""
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
