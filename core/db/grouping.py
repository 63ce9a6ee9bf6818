"""Group commit: many callers, one statement. The hot statements of core/jobs and core/webhooks run through here.

A row that arrives while nothing runs goes at once, together with whatever else arrived in the same iteration of the
loop; rows that arrive during a statement wait for the next one. Nothing is ever delayed to make a group larger. Every
caller gets its own outcome: when PostgreSQL refuses a group because of its data, the group is halved until the bad
row stands alone; a statement may also return Failed for one row. Memory is bounded: a group and what is pending have
limits in rows and in bytes, and a caller beyond them is refused.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from core.db.faults import REFUSED_VALUES, ROW_LOCKED

_MIB: Final = 1024 * 1024

Row = TypeVar("Row")
Outcome = TypeVar("Outcome")


class Overloaded(Exception):
    """More rows are pending than memory should hold."""


class GrouperClosed(Exception):
    """The process is shutting down."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The outcome of a row that could not be served, though its neighbours were: `error` is raised for its caller."""

    error: Exception


@dataclass(slots=True)
class _Together(Generic[Outcome]):
    """Rows that one caller submitted at once, and one future for all of them: a thousand futures cost too much."""

    outcomes: "list[Outcome | BaseException]"
    left: int
    ended: "asyncio.Future[None]"

    def settle(self, index: int, outcome: Outcome | BaseException) -> None:
        self.outcomes[index] = outcome
        self.left -= 1
        if self.left == 0 and not self.ended.done():
            self.ended.set_result(None)


@dataclass(slots=True)
class _Pending(Generic[Row, Outcome]):
    """A row, and who waits for its outcome: one caller, or one that waits for others as well."""

    row: Row
    size: int
    caller: "asyncio.Future[Outcome] | _Together[Outcome]"
    index: int = 0
    is_settled: bool = False

    @property
    def is_wanted(self) -> bool:
        """False once it has its outcome, or when its caller was cancelled."""
        if self.is_settled:
            return False
        return not (self.caller.ended if isinstance(self.caller, _Together) else self.caller).done()

    def settle(self, outcome: Outcome) -> None:
        self.is_settled = True
        if isinstance(self.caller, _Together):
            self.caller.settle(self.index, outcome)
        else:
            self.caller.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        self.is_settled = True
        if isinstance(self.caller, _Together):
            self.caller.settle(self.index, error)
        else:
            self.caller.set_exception(error)


@dataclass(slots=True)
class Grouper(Generic[Row, Outcome]):
    """Runs `statement` over the pending rows, at most `at_once` groups at a time, each on a connection of its own.

    `statement` takes rows and returns one outcome for each, in order. `size_of` is a row's bytes: a group stops growing
    at `max_bytes`, and what is pending at `max_pending_bytes`; a single row may be larger than either.
    """

    name: str
    statement: Callable[[Sequence[Row]], Awaitable[Sequence[Outcome | Failed]]]
    max_rows: int = 200
    max_pending: int = 10_000
    at_once: int = 1
    size_of: Callable[[Row], int] | None = None
    max_bytes: int = 8 * _MIB
    max_pending_bytes: int = 64 * _MIB
    _pending: deque[_Pending[Row, Outcome]] = field(default_factory=deque)
    _flushes: set["asyncio.Task[None]"] = field(default_factory=set)
    _pending_bytes: int = 0
    _closed: bool = False

    async def submit(self, row: Row) -> Outcome:
        """The outcome of `row`. Raises Overloaded, GrouperClosed, or what the statement raised for this row."""
        if self._closed:
            raise GrouperClosed(self.name)
        size = self.size_of(row) if self.size_of else 0
        self._admit(1, size)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(row, size, outcome))
        self._wake()
        return await outcome

    async def submit_many(self, rows: Sequence[Row]) -> list[Outcome | BaseException]:
        """The outcomes of `rows`, in order, or what the statement raised for each. Raises Overloaded, GrouperClosed."""
        if self._closed:
            raise GrouperClosed(self.name)
        sizes = [self.size_of(row) for row in rows] if self.size_of else [0] * len(rows)
        self._admit(len(rows), sum(sizes))
        if not rows:
            return []
        together: _Together[Outcome] = _Together(
            [GrouperClosed(self.name)] * len(rows), len(rows), asyncio.get_running_loop().create_future()
        )
        self._pending.extend(
            _Pending(row, size, together, index) for index, (row, size) in enumerate(zip(rows, sizes, strict=True))
        )
        self._wake()
        await together.ended
        return together.outcomes

    async def aclose(self) -> None:
        """Runs what is pending, then refuses more."""
        self._closed = True
        while self._flushes:
            await asyncio.gather(*self._flushes, return_exceptions=True)

    def _admit(self, rows: int, size: int) -> None:
        if len(self._pending) + rows > self.max_pending:
            raise Overloaded(self.name)
        if self._pending and self._pending_bytes + size > self.max_pending_bytes:
            raise Overloaded(self.name)
        self._pending_bytes += size

    def _wake(self) -> None:
        if self._pending and len(self._flushes) < self.at_once:
            # A task starts in the next iteration of the loop, so rows submitted in this one travel together.
            flush = asyncio.create_task(self._flush(), name=f"flush-{self.name}")
            self._flushes.add(flush)
            flush.add_done_callback(self._flush_ended)

    def _flush_ended(self, flush: "asyncio.Task[None]") -> None:
        self._flushes.discard(flush)
        if not flush.cancelled():
            flush.exception()
        self._wake()

    async def _flush(self) -> None:
        while group := self._take():
            try:
                await self._run(group)
            except asyncio.CancelledError:
                _fail(group, GrouperClosed(self.name))
                raise

    def _take(self) -> list[_Pending[Row, Outcome]]:
        group: list[_Pending[Row, Outcome]] = []
        size = 0
        while self._pending and len(group) < self.max_rows:
            if group and size + self._pending[0].size > self.max_bytes:
                break
            pending = self._pending.popleft()
            self._pending_bytes -= pending.size
            # A caller that was cancelled while it waited wants nothing any more.
            if pending.is_wanted:
                group.append(pending)
                size += pending.size
        return group

    async def _run(self, group: list[_Pending[Row, Outcome]]) -> None:
        try:
            outcomes = await self._outcomes([pending.row for pending in group])
        except REFUSED_VALUES as error:
            if len(group) == 1:
                _fail(group, error)
                return
            middle = len(group) // 2
            await self._run(group[:middle])
            await self._run(group[middle:])
        except ROW_LOCKED as error:
            await self._run_around_lock(group, error)
        except Exception as error:  # noqa: BLE001 - whatever it was, it belongs to the callers
            _fail(group, error)
        else:
            self._settle(group, outcomes)

    @staticmethod
    def _settle(group: list[_Pending[Row, Outcome]], outcomes: Sequence[Outcome | Failed]) -> None:
        for pending, outcome in zip(group, outcomes, strict=True):
            if not pending.is_wanted:
                continue
            if isinstance(outcome, Failed):
                pending.fail(outcome.error)
            else:
                pending.settle(outcome)

    async def _run_around_lock(self, group: list[_Pending[Row, Outcome]], error: Exception) -> None:
        """Halves a group that met a lock, as long as one half gets through: else a whole table is locked."""
        if len(group) == 1:
            _fail(group, error)
            return
        middle = len(group) // 2
        stuck = [half for half in (group[:middle], group[middle:]) if not await self._gets_through(half)]
        if len(stuck) == 1:
            await self._run_around_lock(stuck[0], error)
        for half in stuck:
            _fail(half, error)

    async def _gets_through(self, group: list[_Pending[Row, Outcome]]) -> bool:
        """Runs `group` unless it waits for a lock. What else PostgreSQL says of it belongs to its rows."""
        try:
            outcomes = await self._outcomes([pending.row for pending in group])
        except ROW_LOCKED:
            return False
        except Exception:  # noqa: BLE001 - the usual way finds out which row it belongs to
            await self._run(group)
        else:
            self._settle(group, outcomes)
        return True

    async def _outcomes(self, rows: Sequence[Row]) -> Sequence[Outcome | Failed]:
        outcomes = await self.statement(rows)
        if len(outcomes) != len(rows):
            raise RuntimeError(f"{self.name}: {len(outcomes)} outcomes for {len(rows)} rows")
        return outcomes


def _fail(group: Sequence[_Pending[Row, Outcome]], error: BaseException) -> None:
    for pending in group:
        if pending.is_wanted:
            pending.fail(error)
