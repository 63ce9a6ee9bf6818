"""A TCP name for one of several Valkeys: who connects reaches the one it is turned to, and stays there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.queue.own_valkey import OwnValkey

_CHUNK = 65536


class Switch:
    """Connections that are open stay with the server that they reached, as after a change of a name's address."""

    def __init__(self, valkey: OwnValkey) -> None:
        self._valkey = valkey
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def turn_to(self, valkey: OwnValkey) -> None:
        """For new connections."""
        self._valkey = valkey

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs_in, theirs_out = await asyncio.open_unix_connection(self._valkey.folder / "valkey.sock")
        ways = [asyncio.create_task(_forward(*way)) for way in ((reader, theirs_out), (theirs_in, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            theirs_out.transport.abort()
            writer.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def open_switch(valkey: OwnValkey) -> AsyncIterator[Switch]:
    """Turned to `valkey`."""
    switch = Switch(valkey)
    await switch.start()
    try:
        yield switch
    finally:
        await switch.close()
