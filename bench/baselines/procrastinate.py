"""Runs procrastinate for the scenarios that are compared with it, in a database of its own on the same server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import asyncpg

from bench.process import run
from bench.stack import Bench

_MODULE: Final = "bench.baselines.procrastinate_app"


@dataclass(frozen=True, slots=True)
class Peer:
    """A database with procrastinate's schema."""

    bench: Bench
    dsn: str
    connection: "asyncpg.Connection[asyncpg.Record]"

    async def reset(self) -> None:
        await self.connection.execute("TRUNCATE procrastinate_jobs CASCADE")

    async def defer_batches(self, count: int, size: int, tasks: int) -> float:
        """Returns jobs a second, deferred in `count` batches by this number of concurrent tasks."""
        await self.reset()
        answer = await self._run("batches", count, size, tasks)
        return float(count * size / answer["seconds"])

    async def defer_and_work(self, count: int, *, batch: int, tasks: int) -> float:
        """Returns jobs a second from the first defer to the last success, with one worker. `batch` 1: one by one."""
        await self.reset()
        worker = asyncio.create_task(self._run("work", count))
        await self._worker_listens()
        answer = await (
            self._run("defer", count, tasks) if batch == 1 else self._run("batches", count // batch, batch, tasks)
        )
        await worker
        ended: float = await self.connection.fetchval(
            "SELECT extract(epoch FROM max(at))::float8 FROM procrastinate_events WHERE type = 'succeeded'"
        )
        return count / (ended - float(answer["began"]))

    async def _worker_listens(self) -> None:
        while not await self.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        ):
            await asyncio.sleep(0.05)

    async def _run(self, *words: str | int) -> Any:
        environment = self.bench.environment({"PROCRASTINATE_DSN": self.dsn})
        return await run(f"procrastinate-{words[0]}", [_MODULE, *map(str, words)], environment, self.bench.folder)


@asynccontextmanager
async def open_peer(bench: Bench) -> AsyncIterator[Peer | None]:
    """Yields the database with its schema; None when procrastinate is not installed."""
    if find_spec("procrastinate") is None:
        yield None
        return
    async with bench.database("procrastinate") as settings:
        dsn = (settings.owner_url or settings.url).get_secret_value()
        connection = await asyncpg.connect(dsn)
        try:
            peer = Peer(bench, dsn, connection)
            await peer._run("schema")  # noqa: SLF001 - its own module
            yield peer
        finally:
            await connection.close()
