"""Group commit: everybody's own outcome, whatever happens to the neighbours, and nobody forgotten."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from core.db.grouping import Failed, Grouper, GrouperClosed, Overloaded


class Statement:
    """Doubles numbers; refuses what is negative as PostgreSQL refuses a bad value: the whole statement with it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = 0
        self.most_running = 0
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, rows: Sequence[int]) -> list[int]:
        self.batches.append(list(rows))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.open.wait()
            if min(rows) < 0:
                raise asyncpg.DataError("bad value")
            return [row * 2 for row in rows]
        finally:
            self.running -= 1


@pytest.fixture
async def statement() -> Statement:
    return Statement()


async def submit_all(grouper: Grouper[int, int], rows: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*map(grouper.submit, rows), return_exceptions=True)


async def started(grouper: Grouper[int, int], rows: Sequence[int]) -> "list[asyncio.Task[int]]":
    """Submits whose rows have reached the grouper."""
    tasks = [asyncio.create_task(grouper.submit(row)) for row in rows]
    await asyncio.sleep(0)
    return tasks


async def test_everybody_gets_the_outcome_of_his_own_row(statement: Statement) -> None:
    grouper = Grouper("test", statement, max_rows=7)

    assert await submit_all(grouper, range(1000)) == [row * 2 for row in range(1000)]
    assert max(map(len, statement.batches)) == 7
    assert [row for batch in statement.batches for row in batch] == list(range(1000))


class LockedRows(Statement):
    """As a statement that waits for rows of somebody else: it is ended when one of `locked` is among its rows."""

    def __init__(self, locked: set[int]) -> None:
        super().__init__()
        self.locked = locked

    async def __call__(self, rows: Sequence[int]) -> list[int]:
        self.batches.append(list(rows))
        if self.locked & set(rows):
            raise asyncpg.LockNotAvailableError("lock timeout")
        return [row * 2 for row in rows]


async def test_a_locked_row_fails_alone() -> None:
    statement = LockedRows({37})
    outcomes = await submit_all(Grouper("test", statement), range(100))

    assert isinstance(outcomes.pop(37), asyncpg.LockNotAvailableError)
    assert outcomes == [row * 2 for row in range(100) if row != 37]
    # The neighbours get through by halves, not one by one.
    assert len(statement.batches) <= 1 + 2 * 7


async def test_a_locked_table_is_not_tried_row_by_row() -> None:
    statement = LockedRows(set(range(100)))
    outcomes = await submit_all(Grouper("test", statement), range(100))

    assert {type(outcome) for outcome in outcomes} == {asyncpg.LockNotAvailableError}
    assert len(statement.batches) == 3


async def test_an_exception_among_the_outcomes_is_its_rows_own() -> None:
    async def statement(rows: Sequence[int]) -> list[int | Failed]:
        return [Failed(ValueError("odd")) if row % 2 else row for row in rows]

    outcomes = await submit_all(Grouper("test", statement), range(4))

    assert [type(outcome) for outcome in outcomes] == [int, ValueError, int, ValueError]


async def test_rows_of_one_turn_travel_together(statement: Statement) -> None:
    await submit_all(Grouper("test", statement), range(150))

    assert statement.batches == [list(range(150))]


async def test_rows_that_come_during_a_statement_wait_for_the_next_one(statement: Statement) -> None:
    grouper = Grouper("test", statement)
    statement.open.clear()
    first = await started(grouper, [1])
    await asyncio.sleep(0)
    later = await started(grouper, [2, 3, 4])
    statement.open.set()

    assert await asyncio.gather(*first, *later) == [2, 4, 6, 8]
    assert statement.batches == [[1], [2, 3, 4]]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_no_more_statements_run_at_once_than_are_allowed(statement: Statement, at_once: int) -> None:
    grouper = Grouper("test", statement, max_rows=1, at_once=at_once)
    statement.open.clear()
    tasks = await started(grouper, [1])
    for row in range(2, 10):
        await asyncio.sleep(0)
        tasks += await started(grouper, [row])
    statement.open.set()
    await asyncio.gather(*tasks)

    assert statement.most_running == at_once


@pytest.mark.parametrize("bad", [[0], [63], [10, 11, 40], list(range(64))])
async def test_a_bad_row_fails_alone(statement: Statement, bad: list[int]) -> None:
    rows = [-1 if number in bad else number for number in range(64)]

    outcomes = await submit_all(Grouper("test", statement), rows)

    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, asyncpg.DataError) if number in bad else outcome == number * 2


async def test_what_is_nobodys_fault_is_told_to_everybody_once() -> None:
    calls = 0

    async def away(rows: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise ConnectionRefusedError

    outcomes = await submit_all(Grouper("test", away), range(64))

    assert {type(outcome) for outcome in outcomes} == {ConnectionRefusedError}
    assert calls == 1


async def test_it_goes_on_after_a_fault(statement: Statement) -> None:
    grouper = Grouper("test", statement)

    assert isinstance((await submit_all(grouper, [-1]))[0], asyncpg.DataError)
    assert await grouper.submit(4) == 8


@pytest.mark.parametrize("outcomes", [[], [1], [1, 2, 3]])
async def test_a_statement_that_miscounts_leaves_nobody_waiting(outcomes: list[int]) -> None:
    async def miscounting(rows: Sequence[int]) -> list[int]:
        return outcomes

    async with asyncio.timeout(5):
        answers = await submit_all(Grouper("test", miscounting), [1, 2])

    assert {type(answer) for answer in answers} == {RuntimeError}


async def test_memory_is_bounded(statement: Statement) -> None:
    grouper = Grouper("test", statement, max_rows=2, max_pending=5)
    statement.open.clear()
    first = await started(grouper, [1, 2])
    await asyncio.sleep(0)
    waiting = await started(grouper, [3, 4, 5, 6, 7])

    assert len(grouper._pending) == 5
    with pytest.raises(Overloaded):
        await grouper.submit(8)

    statement.open.set()
    assert await asyncio.gather(*first, *waiting) == [2, 4, 6, 8, 10, 12, 14]
    assert await grouper.submit(8) == 16


async def test_who_went_away_is_not_written_for(statement: Statement) -> None:
    grouper = Grouper("test", statement)
    statement.open.clear()
    first = await started(grouper, [1])
    await asyncio.sleep(0)
    gone, stays = await started(grouper, [2, 3])
    gone.cancel()
    await asyncio.sleep(0)
    statement.open.set()

    assert await asyncio.gather(*first, stays) == [2, 6]
    assert statement.batches == [[1], [3]]


async def test_who_goes_away_during_the_statement_harms_nobody(statement: Statement) -> None:
    grouper = Grouper("test", statement)
    statement.open.clear()
    gone, stays = await started(grouper, [1, 2])
    await asyncio.sleep(0)
    gone.cancel()
    statement.open.set()

    assert await stays == 4
    assert await grouper.submit(3) == 6


async def test_closing_finishes_what_was_promised_and_takes_no_more(statement: Statement) -> None:
    grouper = Grouper("test", statement, max_rows=2)
    statement.open.clear()
    tasks = await started(grouper, range(9))
    closing = asyncio.create_task(grouper.aclose())
    await asyncio.sleep(0)

    with pytest.raises(GrouperClosed):
        await grouper.submit(100)
    statement.open.set()
    await closing

    assert [task.result() for task in tasks] == [row * 2 for row in range(9)]


async def test_closing_twice_or_unused_is_harmless(statement: Statement) -> None:
    grouper = Grouper("test", statement)

    await grouper.aclose()
    await grouper.aclose()


async def test_a_flush_that_is_cancelled_leaves_nobody_waiting(statement: Statement) -> None:
    grouper = Grouper("test", statement, max_rows=2)
    statement.open.clear()
    tasks = await started(grouper, [1, 2, 3])
    await asyncio.sleep(0)
    for flush in list(grouper._flushes):
        flush.cancel()
    statement.open.set()

    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [GrouperClosed, GrouperClosed, int]


async def test_a_row_that_could_not_be_served_fails_alone_and_at_once() -> None:
    async def statement(rows: Sequence[int]) -> list[int | Failed]:
        return [Failed(KeyError(row)) if row < 0 else row * 2 for row in rows]

    outcomes = await submit_all(Grouper("test", statement), [1, -1, 2])

    assert (outcomes[0], type(outcomes[1]), outcomes[2]) == (2, KeyError, 4)


async def test_a_group_is_bounded_in_bytes_too(statement: Statement) -> None:
    grouper = Grouper("test", statement, size_of=lambda row: row, max_bytes=100)

    assert await submit_all(grouper, [40, 60, 10, 500, 1, 2]) == [80, 120, 20, 1000, 2, 4]
    assert statement.batches == [[40, 60], [10], [500], [1, 2]]


async def test_what_waits_is_bounded_in_bytes_too(statement: Statement) -> None:
    grouper = Grouper("test", statement, max_rows=1, size_of=lambda row: row, max_pending_bytes=100)
    statement.open.clear()
    tasks = await started(grouper, [1])
    await asyncio.sleep(0)
    # Alone it may be larger: it could never be stored otherwise.
    tasks += await started(grouper, [150])
    with pytest.raises(Overloaded):
        await grouper.submit(1)
    with pytest.raises(Overloaded):
        await grouper.submit_many([1, 2])
    statement.open.set()
    await asyncio.gather(*tasks)

    assert await grouper.submit(100) == 200
