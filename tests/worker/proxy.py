"""A TCP proxy that can be cut, or made to hang, in front of a server that somebody else keeps using."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pydantic import SecretStr

from core.settings import DatabaseSettings, Settings

_CHUNK = 65536


class Proxy:
    """Forwards to one PostgreSQL, which listens on a port or on a unix socket."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self.is_cut = False
        self.refused = 0
        self._passing.set()

    @property
    def url(self) -> str:
        """The same database through the proxy."""
        assert self._server is not None
        parts = urlsplit(self._url)
        port = self._server.sockets[0].getsockname()[1]
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{port}", query=""))

    def cut(self) -> None:
        """Ends every connection and refuses new ones, from now on."""
        self.is_cut = True
        for talk in self._talks:
            talk.cancel()

    def hang(self) -> None:
        """Keeps connections and takes new ones, and lets nothing through."""
        self._passing.clear()

    def restore(self) -> None:
        self.is_cut = False
        self._passing.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.is_cut:
                self.refused += 1
                return
            their_reader, their_writer = await self._connect()
            try:
                ways = [
                    asyncio.create_task(self._forward(*way)) for way in ((reader, their_writer), (their_reader, writer))
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
            finally:
                their_writer.transport.abort()
        finally:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self._url)
        query = parse_qs(parts.query)
        host, port = query.get("host", [parts.hostname])[0], int(query.get("port", [parts.port or 5432])[0])
        if host is not None and host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


@asynccontextmanager
async def open_proxy(database: DatabaseSettings) -> AsyncIterator[Proxy]:
    proxy = Proxy(database.url.get_secret_value())
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


def through(settings: Settings, proxy: Proxy) -> Settings:
    """The same settings, with PostgreSQL behind the proxy."""
    database = settings.database.model_copy(update={"url": SecretStr(proxy.url)})
    return settings.model_copy(update={"database": database})
