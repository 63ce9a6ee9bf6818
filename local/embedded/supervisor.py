"""Runs the embedded servers for as long as one command lives: `async with run_embedded(data_dir) as servers`.

Servers that a killed command left behind are stopped first. The servers start concurrently and are all ready when the
body begins. When the body ends, in whatever way, they are stopped concurrently within 3 seconds. `servers.failure()`
reports one that dies in between. `inferd serve`, `inferd demo`, bench and the tests use it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import NoReturn, TypeVar

from local.embedded.errors import ServerDied
from local.embedded.folders import lay_out, make_root
from local.embedded.leftovers import Identity, identity_of, record, stop_leftovers
from local.embedded.local_model import start_local_model
from local.embedded.lock import only_command
from local.embedded.postgres import start_postgres
from local.embedded.processes import Child, Program
from local.embedded.valkey import start_valkey

Result = TypeVar("Result")
First = TypeVar("First")
Second = TypeVar("Second")
Third = TypeVar("Third")
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class EmbeddedServers:
    """The addresses of the servers; None for one that was not requested."""

    database_url: str | None
    """For the role that the migrations make; it can't log in before they ran."""
    owner_url: str | None
    redis_url: str | None
    local_base_url: str | None
    """Ends in /v1."""
    local_api_key: str | None = field(repr=False)
    versions: Mapping[str, str]
    startup_seconds: Mapping[str, float]
    recovered: tuple[str, ...]
    """The servers of a killed command that had to be stopped first."""
    _died: "asyncio.Future[ServerDied]" = field(repr=False, compare=False)

    async def failure(self) -> NoReturn:
        """Waits for ever, and raises ServerDied when a server ends by itself."""
        raise await asyncio.shield(self._died)


@asynccontextmanager
async def run_embedded(
    data_dir: Path,
    *,
    with_model: bool = True,
    with_postgres: bool = True,
    with_valkey: bool = True,
    postgres_settings: Mapping[str, str] = _NOTHING,
) -> AsyncIterator[EmbeddedServers]:
    """Raises EmbeddedError (local.embedded.errors), whose text says what to do, when they can't run."""
    root = make_root(data_dir)
    with only_command(root):
        folders = lay_out(root)
        recovered = await asyncio.to_thread(stop_leftovers, root, [folders.cluster])
        fleet = _Fleet(root)
        try:
            postgres, valkey, model = await _side_by_side(
                fleet.timed("postgres", lambda: start_postgres(folders, fleet.start, postgres_settings), with_postgres),
                fleet.timed("valkey", lambda: start_valkey(folders, fleet.start), with_valkey),
                fleet.timed("model", lambda: start_local_model(folders, fleet.start), with_model),
            )
            started = {"postgres": postgres, "valkey": valkey, "model": model}
            yield EmbeddedServers(
                database_url=postgres.app_url if postgres else None,
                owner_url=postgres.owner_url if postgres else None,
                redis_url=valkey.url if valkey else None,
                local_base_url=model.base_url if model else None,
                local_api_key=model.api_key if model else None,
                versions={name: server.version for name, server in started.items() if server},
                startup_seconds=fleet.seconds,
                recovered=tuple(recovered),
                _died=fleet.died,
            )
        finally:
            await fleet.stop()


async def _side_by_side(
    first: Coroutine[None, None, First], second: Coroutine[None, None, Second], third: Coroutine[None, None, Third]
) -> tuple[First, Second, Third]:
    """Returns all three results, or raises the first error after the other two were cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = group.create_task(first), group.create_task(second), group.create_task(third)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return tasks[0].result(), tasks[1].result(), tasks[2].result()


class _Fleet:
    """The child processes of one command."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._children: list[Child] = []
        self._known: dict[str, Identity] = {}
        self._stopping = False
        self.seconds: dict[str, float] = {}
        self.died: asyncio.Future[ServerDied] = asyncio.get_running_loop().create_future()

    async def timed(self, name: str, start: Callable[[], Awaitable[Result]], wanted: bool) -> Result | None:
        if not wanted:
            return None
        began = perf_counter()
        server = await start()
        self.seconds[name] = perf_counter() - began
        return server

    def start(self, program: Program) -> Child:
        child = Child(program)
        self._children.append(child)
        identity = identity_of(child.pid)
        if identity is not None:
            self._known[program.name] = identity
            record(self._root, self._known)
        child.exited.add_done_callback(lambda _: self._ended(child))
        return child

    def _ended(self, child: Child) -> None:
        if not self._stopping and not self.died.done():
            self.died.set_result(child.died())

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*(child.stop() for child in self._children))
        record(self._root, {})
