"""A connection of its own for what must not wait behind anything: one statement at a time, each within a time limit.

After any failure, a timeout included, the connection is dropped and the next statement opens another one, so that a
half-open connection costs one time limit and no more. Used by core/jobs/worker_lease.py.
"""

import asyncio
from dataclasses import dataclass, field

import asyncpg

from core.db.engine import driver_url, server_settings
from core.settings import DatabaseSettings


@dataclass(slots=True)
class DedicatedConnection:
    """Sees all tenants, as a worker does."""

    settings: DatabaseSettings
    name: str
    _connection: "asyncpg.Connection[asyncpg.Record] | None" = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def fetchrow(self, seconds: float, statement: str, *arguments: object) -> asyncpg.Record | None:
        """The first row. Raises TimeoutError after `seconds` (twice as long to connect), or what the driver raises."""
        try:
            async with self._turn:
                connection = await self._open(seconds)
                async with asyncio.timeout(seconds):
                    return await connection.fetchrow(statement, *arguments)
        except BaseException:
            self.drop()
            raise

    async def _open(self, seconds: float) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            limit = str(max(1, int(seconds * 1000)))
            own = {"statement_timeout": limit, "lock_timeout": limit}
            self._connection = await asyncpg.connect(
                driver_url(self.settings.url.get_secret_value()),
                timeout=2 * seconds,
                server_settings=server_settings(self.settings, name=self.name, fleet=True) | own,
            )
        return self._connection

    def drop(self) -> None:
        """Lets go of the connection without a word to its other end, which may not be there."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
