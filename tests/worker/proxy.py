"""A TCP proxy that can be cut, or made to hang, in front of a server that somebody else keeps using."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pydantic import SecretStr

from core.settings import DatabaseSettings, Settings
from tests.support.relay import Relay


class Proxy(Relay):
    """Forwards to one PostgreSQL, which listens on a port or on a unix socket."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._passing = asyncio.Event()
        self.is_cut = False
        self.refused = 0
        self._passing.set()

    @property
    def url(self) -> str:
        """The same database through the proxy."""
        parts = urlsplit(self._url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{self.port}", query=""))

    def cut(self) -> None:
        """Ends every connection and refuses new ones, from now on."""
        self.is_cut = True
        super().cut()

    def hang(self) -> None:
        """Keeps connections and takes new ones, and lets nothing through."""
        self._passing.clear()

    def restore(self) -> None:
        self.is_cut = False
        self._passing.set()

    async def may_pass(self) -> None:
        await self._passing.wait()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.is_cut:
            self.refused += 1
            raise ConnectionRefusedError
        parts = urlsplit(self._url)
        query = parse_qs(parts.query)
        host, port = query.get("host", [parts.hostname])[0], int(query.get("port", [parts.port or 5432])[0])
        if host is not None and host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


@asynccontextmanager
async def open_proxy(database: DatabaseSettings) -> AsyncIterator[Proxy]:
    async with Proxy(database.url.get_secret_value()).running() as proxy:
        yield proxy


def through(settings: Settings, proxy: Proxy) -> Settings:
    """The same settings, with PostgreSQL behind the proxy."""
    database = settings.database.model_copy(update={"url": SecretStr(proxy.url)})
    return settings.model_copy(update={"database": database})
