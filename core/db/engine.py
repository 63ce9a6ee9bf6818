"""The two ways into PostgreSQL: an asyncpg pool for the hot statements, SQLAlchemy sessions for everything else.

Opened by core/runtime.py, once per process. Every connection drops to the role `inferd_app`, which is neither owner
nor superuser, so row-level security holds whoever the login is. A `fleet` database (workers, operators' commands)
sees all tenants; any other sees only the tenants that a transaction names (core/db/session.py).
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from core.db.faults import STORE_FAULTS
from core.settings import DatabaseSettings, SettingsError

APP_ROLE: Final = "inferd_app"
_SESSION_POOL_SIZE: Final = 5


@dataclass(frozen=True, slots=True)
class Database:
    """A pool for the hot statements and an engine for the rest; `fleet` says whose rows they see."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    engine: AsyncEngine
    fleet: bool

    async def answers(self) -> bool:
        """Whether PostgreSQL runs a statement now. Raises nothing but CancelledError."""
        try:
            return await self.pool.fetchval("SELECT true") is True
        except STORE_FAULTS:
            return False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.engine.dispose()
        await self.pool.close()


def driver_url(url: str) -> str:
    """The URL as asyncpg takes it: without SQLAlchemy's `+asyncpg`."""
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise SettingsError("INFERD_DATABASE_URL: must start with postgresql://")
    return urlunsplit(parts._replace(scheme="postgresql"))


def sqlalchemy_url(url: str) -> URL:
    """The URL as SQLAlchemy takes it."""
    return make_url(driver_url(url)).set(drivername="postgresql+asyncpg")


def _server_settings(settings: DatabaseSettings, *, name: str, fleet: bool) -> dict[str, str]:
    return {
        "application_name": f"inferd-{name}",
        "role": APP_ROLE,
        "app.fleet": "on" if fleet else "",
        "statement_timeout": str(int(settings.statement_timeout_seconds * 1000)),
        "idle_in_transaction_session_timeout": str(int(settings.statement_timeout_seconds * 2000)),
        "timezone": "UTC",
        # Hot statements are tiny; compiling them costs more than it saves.
        "jit": "off",
    }


async def open_database(settings: DatabaseSettings, *, name: str, fleet: bool) -> Database:
    """Connects. `name` shows in pg_stat_activity. Raises OSError or asyncpg.PostgresError when it can't."""
    url = settings.url.get_secret_value()
    server_settings = _server_settings(settings, name=name, fleet=fleet)
    engine = create_async_engine(
        sqlalchemy_url(url),
        pool_size=_SESSION_POOL_SIZE,
        max_overflow=_SESSION_POOL_SIZE,
        pool_pre_ping=True,
        connect_args={"server_settings": server_settings, "timeout": settings.connect_timeout_seconds},
    )
    pool = await asyncpg.create_pool(
        driver_url(url),
        min_size=2,
        max_size=settings.pool_size,
        timeout=settings.connect_timeout_seconds,
        command_timeout=settings.statement_timeout_seconds + 1,
        server_settings=server_settings,
        max_inactive_connection_lifetime=60,
    )
    return Database(pool=pool, engine=engine, fleet=fleet)
