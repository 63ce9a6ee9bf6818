"""A TCP proxy before a store, to take the network away: refuse, cut, or go silent with the connections open."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Proxy:
    """Forwards a port of the loopback to a unix socket. `port` is known when it runs."""

    target: Path
    port: int = 0
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _refusing: bool = False
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _talks: set["asyncio.Task[None]"] = field(default_factory=set)

    def cut(self) -> None:
        """Every open connection is reset; new ones work."""
        for writer in self._writers:
            writer.transport.abort()

    def refuse(self) -> None:
        """Every open connection is reset, and new ones at once too, until `heal`."""
        self._refusing = True
        self.cut()

    def silence(self) -> None:
        """Half-open: connections stay and are accepted, and no byte goes through until `heal`."""
        self._flowing.clear()

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
        ours = {writer, far_writer}
        self._writers |= ours
        pumps = [
            asyncio.ensure_future(self._pump(reader, far_writer)),
            asyncio.ensure_future(self._pump(far_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= ours
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for each in ours:
                each.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(65_536):
                await self._flowing.wait()
                sink.write(piece)
                await sink.drain()


@asynccontextmanager
async def open_proxy(target: Path) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    proxy.heal()
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, backlog=1024)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
