"""The Lua scripts of core/queue/lua as typed calls. KEYS and ARGV are made here and nowhere else.

A script gets one argument: a dataclass of this file as JSON, so that Lua reads its fields by name. Time is Redis's own.
The in-progress key holds a token for each acquisition, where stock arq writes `1` and only asks whether it exists. The
score moves to the lease's end on claim, where stock arq leaves it; a stock worker then sees a job that is not due. Keys
are built inside the scripts, as arq's own are: not for Redis Cluster (arq is not either).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import orjson
from arq.connections import ArqRedis
from redis.commands.core import AsyncScript

from core.queue.lua_text import lua_text

_TRIPLE: Final = 3


@dataclass(frozen=True, slots=True)
class EnqueueRow:
    """One id, due in `delay_ms` or before all that waits; `flow` is whose turn it takes."""

    member: str
    payload: str
    flow: str
    delay_ms: int
    at_front: bool


@dataclass(frozen=True, slots=True)
class EnqueueCall:
    """`limit` is how many ids the lane holds."""

    group: str
    limit: int
    rows: Sequence[EnqueueRow]


@dataclass(frozen=True, slots=True)
class ClaimCall:
    """`worker` is "" for one that nobody wakes. `kept` slots are for flows that ask for little. `cap` is a flow's most
    slots (-1: none), `own_caps` those of flows with their own. `shares` and `rooms` have a number for each lane.
    """

    group: str
    worker: str
    token: str
    lease_ms: int
    kept: int
    counts_flows: bool
    cap: int
    own_caps: Mapping[str, int]
    shares: Sequence[int]
    rooms: Sequence[int]


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """What was taken, as the lane's index, the member and its payload; in how many ms the next time comes (None: none
    will, or another worker looks then); whether two flows or more run or wait; whether Redis is out of memory.
    """

    taken: Sequence[tuple[int, bytes, bytes]]
    due_in_ms: float | None
    contested: bool
    full: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """`lane` is its key, `flow` is "" when flows are not counted."""

    lane: str
    member: str
    token: str
    flow: str


@dataclass(frozen=True, slots=True)
class FinishRow(Hold):
    """A hold that is over. `delay_ms` counts for "after" only."""

    again: Literal["done", "front", "after"]
    delay_ms: int


@dataclass(frozen=True, slots=True)
class FinishCall:
    """A worker that is `leaving` takes no more."""

    group: str
    leaving: bool
    rows: Sequence[FinishRow]


@dataclass(frozen=True, slots=True)
class RenewCall:
    """Each hold lasts `lease_ms` from now."""

    group: str
    lease_ms: int
    holds: Sequence[Hold]


@dataclass(frozen=True, slots=True)
class LeaveCall:
    """The worker's own name on its wake channel."""

    group: str
    worker: str


_Call = EnqueueCall | ClaimCall | FinishCall | RenewCall | LeaveCall


class Scripts:
    """The scripts on one connection pool. Every method raises one of RedisFault."""

    def __init__(self, redis: ArqRedis) -> None:
        self._enqueue = redis.register_script(lua_text("enqueue"))
        self._claim = redis.register_script(lua_text("claim"))
        self._finish = redis.register_script(lua_text("finish"))
        self._renew_holds = redis.register_script(lua_text("renew_holds"))
        self._leave = redis.register_script(lua_text("leave"))

    async def enqueue(self, lane: str, call: EnqueueCall) -> int:
        """lua/enqueue.lua: writes ids into one lane. Returns how many were refused because it is full."""
        return await _number(self._enqueue, [lane], call)

    async def claim(self, lanes: Sequence[str], call: ClaimCall) -> ClaimReply:
        """lua/claim.lua: takes members of the lanes, in order of preference."""
        due_in_ms, contested, full, taken = await self._claim(keys=lanes, args=[_json(call)])
        rows = list(zip(taken[::_TRIPLE], taken[1::_TRIPLE], taken[2::_TRIPLE], strict=True))
        return ClaimReply(rows, None if due_in_ms < 0 else due_in_ms, bool(contested), bool(full))

    async def finish(self, lanes: Sequence[str], call: FinishCall) -> int:
        """lua/finish.lua: ends holds of a worker's lanes. Returns how many members of capped flows may run now."""
        return await _number(self._finish, lanes, call)

    async def renew_holds(self, call: RenewCall) -> int:
        """lua/renew_holds.lua: keeps holds that nobody else took. Returns how many those are."""
        return await _number(self._renew_holds, [], call)

    async def leave(self, call: LeaveCall) -> None:
        """lua/leave.lua: the worker is not woken from now on."""
        await self._leave(args=[_json(call)])


async def _number(script: AsyncScript, keys: Sequence[str], call: _Call) -> int:
    return int(await script(keys=keys, args=[_json(call)]))


def _json(call: _Call) -> bytes:
    try:
        return orjson.dumps(call)
    except TypeError:
        # A member that is not ours may be any bytes: Lua takes them as they are, only orjson does not.
        return json.dumps(asdict(call), ensure_ascii=False).encode(errors="surrogateescape")
