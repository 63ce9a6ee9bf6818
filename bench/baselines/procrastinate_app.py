"""procrastinate, a queue on PostgreSQL: `python -m bench.baselines.procrastinate_app COMMAND [NUMBER ...]`.

`schema` creates its tables · `batches COUNT SIZE TASKS` defers batches · `defer COUNT TASKS` defers one by one ·
`work COUNT` runs a worker until that many jobs are done. Each prints its result as JSON. DSN is in PROCRASTINATE_DSN.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

import procrastinate
import uvloop

_SLOTS: Final = 100

Command = Callable[..., Coroutine[Any, Any, dict[str, float] | None]]

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ["PROCRASTINATE_DSN"], min_size=4, max_size=10)
)


class Tally:
    """Records when the given number of tasks has run."""

    left = 0
    done = asyncio.Event()


@app.task(name="noop")  # type: ignore[untyped-decorator,unused-ignore]  # typed where it is installed
async def noop(text: str) -> None:  # noqa: ARG001 - what a job carries
    Tally.left -= 1
    if Tally.left == 0:
        Tally.done.set()


async def schema() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def batches(count: int, size: int, tasks: int) -> dict[str, float]:
    rows: list[dict[str, Any]] = [{"text": "Say hello to the reader of this report."}] * size

    async def defer(waiting: Iterator[int]) -> None:
        for _ in waiting:
            await noop.batch_defer_async(*rows)

    return await _timed(defer, count, tasks)


async def defer(count: int, tasks: int) -> dict[str, float]:
    async def one_by_one(waiting: Iterator[int]) -> None:
        for _ in waiting:
            await noop.defer_async(text="Say hello to the reader of this report.")

    return await _timed(one_by_one, count, tasks)


async def _timed(work: Callable[[Iterator[int]], Awaitable[None]], count: int, tasks: int) -> dict[str, float]:
    waiting = iter(range(count))
    async with app.open_async():
        began, started = datetime.now(UTC).timestamp(), perf_counter()
        await asyncio.gather(*(work(waiting) for _ in range(tasks)))
        return {"began": began, "seconds": perf_counter() - started}


async def work(count: int) -> dict[str, float]:
    Tally.left = count
    async with app.open_async():
        running = asyncio.create_task(app.run_worker_async(concurrency=_SLOTS, install_signal_handlers=False))
        await Tally.done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return {}


if __name__ == "__main__":
    commands: dict[str, Command] = {"schema": schema, "batches": batches, "defer": defer, "work": work}
    command = commands[sys.argv[1]]
    print(json.dumps(uvloop.run(command(*map(int, sys.argv[2:])))))
