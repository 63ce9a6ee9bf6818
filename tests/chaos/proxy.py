"""A TCP proxy before a store, to take the network away: refuse, cut, go silent as a whole or on one connection."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

# A connection that moved bytes so lately is one that its owner uses.
_IN_USE_SECONDS = 5.0


@dataclass(eq=False)
class Connection:
    """One that goes through. `entrance` is the port that was connected to; without `flowing` no byte moves."""

    entrance: int
    writers: tuple[asyncio.StreamWriter, ...] = ()
    last_moved: float = 0.0
    moved: int = 0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Proxy:
    """Forwards ports of the loopback to a unix socket. `ports` are known when it runs: one for each process behind it,
    so that a fault may hit one of them alone."""

    target: Path
    ports: list[int] = field(default_factory=list)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _refusing: bool = False
    _open: set[Connection] = field(default_factory=set)
    _talks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def port(self) -> int:
        return self.ports[0]

    def cut(self) -> None:
        """Every open connection is reset; new ones work."""
        for connection in self._open:
            for writer in connection.writers:
                writer.transport.abort()

    def refuse(self) -> None:
        """Every open connection is reset, and new ones at once too, until `heal`."""
        self._refusing = True
        self.cut()

    def silence(self) -> None:
        """Half-open: connections stay and are accepted, and no byte goes through until `heal`."""
        self._flowing.clear()

    def silence_one(self, entrance: int, draw: random.Random | None) -> bool:
        """One connection of those that came in by this port and are in use goes silent for good, and is not closed.

        Without `draw` it is the one that moved the fewest bytes. Returns whether there was one.
        """
        since = monotonic() - _IN_USE_SECONDS
        used = [each for each in self._open if each.entrance == entrance and each.last_moved >= since]
        used = [each for each in used if each.flowing.is_set()]
        used.sort(key=lambda each: each.moved)
        if used:
            (used[0] if draw is None else draw.choice(used)).flowing.clear()
        return bool(used)

    def heal(self) -> None:
        self._refusing = False
        self._flowing.set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.ensure_future(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def close(self) -> None:
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.transport.abort()
            return
        connection = Connection(writer.get_extra_info("sockname")[1], (writer, far_writer))
        connection.flowing.set()
        self._open.add(connection)
        pumps = [
            asyncio.ensure_future(self._pump(reader, far_writer, connection)),
            asyncio.ensure_future(self._pump(far_reader, writer, connection)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(connection)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in connection.writers:
                each.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, connection: Connection) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(65_536):
                await self._flowing.wait()
                await connection.flowing.wait()
                connection.last_moved = monotonic()
                connection.moved += len(piece)
                sink.write(piece)
                await sink.drain()


@asynccontextmanager
async def open_proxy(target: Path, *, entrances: int = 1) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    proxy.heal()
    servers = [await asyncio.start_server(proxy.accept, "127.0.0.1", 0, backlog=1024) for _ in range(entrances)]
    proxy.ports = [server.sockets[0].getsockname()[1] for server in servers]
    try:
        yield proxy
    finally:
        for server in servers:
            server.close()
        await proxy.close()
