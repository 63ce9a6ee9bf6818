"""The two ways into PostgreSQL: an asyncpg pool for the hot statements, SQLAlchemy sessions for everything else.

Opened by core/runtime.py, once per process. Every connection drops to the role `inferd_app`, which is neither owner
nor superuser, so row-level security holds whoever the login is. A `fleet` database (workers, operators' commands)
sees all tenants; any other sees only the tenants that a transaction names (core/db/session.py).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import structlog
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_random_exponential

from core.db.faults import NOT_READY, STORE_FAULTS, explain_fault
from core.settings import DatabaseSettings, SettingsError

APP_ROLE: Final = "inferd_app"
_SESSION_POOL_SIZE: Final = 5
# Longer than it takes to give connections back; a PostgreSQL that does not respond would be waited for without end.
_CLOSE_SECONDS: Final = 3.0
# How long to wait when every connection is in use; then the request fails with 503.
_SESSION_WAIT_SECONDS: Final = 3.0
# Hot statements take whole groups of keys: one plan, by the indexes, whatever the tables hold and the group's size is.
# A row that somebody else holds must not hold up a whole group: core/db/grouping.py goes around it.
_HOT: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "lock_timeout": "500ms"}
# Sessions ask for what callers filter by: whether a state or a pair is rare decides where to start, so each is planned
# for its own values. After five times PostgreSQL would plan for any, and read half a million rows to find none.
_BY_VALUE: Final = {"plan_cache_mode": "force_custom_plan"}


Answer = TypeVar("Answer")

log = structlog.get_logger(__name__)


class DatabaseUnusable(Exception):
    """A process can't start because of PostgreSQL; the message says why and what to do."""


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
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.engine.dispose()
                await self.pool.close()
        except TimeoutError:
            # PostgreSQL does not respond, or a statement still waits for it: a stop must not.
            self.pool.terminate()


def driver_url(url: str) -> str:
    """The URL as asyncpg takes it: without SQLAlchemy's `+asyncpg`."""
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise SettingsError("INFERD_DATABASE_URL: must start with postgresql://")
    return urlunsplit(parts._replace(scheme="postgresql"))


def sqlalchemy_url(url: str) -> URL:
    """The URL as SQLAlchemy takes it."""
    return make_url(driver_url(url)).set(drivername="postgresql+asyncpg")


def server_settings(settings: DatabaseSettings, *, name: str, fleet: bool) -> dict[str, str]:
    """What every connection sets when it begins."""
    return {
        "application_name": f"inferd-{name}",
        "role": APP_ROLE,
        "app.fleet": "on" if fleet else "",
        "statement_timeout": str(int(settings.statement_timeout_seconds * 1000)),
        # A process that stands still in a transaction keeps its locks, and the one that takes over would wait for them.
        "idle_in_transaction_session_timeout": "5s",
        "timezone": "UTC",
        # Hot statements are tiny; compiling them costs more than it saves.
        "jit": "off",
    }


def hot_settings(settings: DatabaseSettings, *, name: str, fleet: bool) -> dict[str, str]:
    """As `server_settings`, for the connections of the hot statements."""
    return server_settings(settings, name=name, fleet=fleet) | _HOT


async def open_database(settings: DatabaseSettings, *, name: str, fleet: bool, patient: bool = True) -> Database:
    """Connects. `name` shows in pg_stat_activity; a patient caller waits for a PostgreSQL that is still starting.

    Raises DatabaseUnusable, which says why and what to do.
    """
    url = settings.url.get_secret_value()
    common = server_settings(settings, name=name, fleet=fleet)
    engine = create_async_engine(
        sqlalchemy_url(url),
        pool_size=_SESSION_POOL_SIZE,
        max_overflow=_SESSION_POOL_SIZE,
        pool_timeout=_SESSION_WAIT_SECONDS,
        pool_pre_ping=True,
        connect_args={"server_settings": common | _BY_VALUE, "timeout": settings.connect_timeout_seconds},
    )

    async def connect() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(
            driver_url(url),
            min_size=2,
            max_size=settings.pool_size,
            timeout=settings.connect_timeout_seconds,
            command_timeout=settings.statement_timeout_seconds + 1,
            server_settings=hot_settings(settings, name=name, fleet=fleet),
            max_inactive_connection_lifetime=60,
            # For as long as the connection: their plans stay right (tests/stores/test_plans.py), and preparing them
            # anew costs the next one milliseconds.
            max_cached_statement_lifetime=0,
            reset=_leave_as_it_is,
        )

    return Database(await until_answered(connect, settings.wait_seconds if patient else 0.0), engine, fleet)


async def _leave_as_it_is(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Instead of the driver's four statements before each return: no user of the pool sets what outlives a transaction.

    Subscriptions and an open transaction are ended by the driver all the same.
    """


async def until_answered(ask: Callable[[], Awaitable[Answer]], seconds: float) -> Answer:
    """What `ask` returns, tried again for `seconds` while PostgreSQL is starting, recovering or out of reach.

    Raises DatabaseUnusable, which says why and what to do.
    """

    async def attempt() -> Answer:
        return await ask()

    try:
        return await AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            stop=stop_after_delay(seconds),
            before_sleep=_say_waiting,
            reraise=True,
        )(attempt)
    except (*NOT_READY, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnusable(explain_fault(error) or str(error)) from error


def _may_pass(error: BaseException) -> bool:
    # A connection that was cut while borrowed is an InterfaceError. So is a wrong URL, which is also a ValueError.
    return isinstance(error, (*NOT_READY, asyncpg.InterfaceError)) and not isinstance(error, ValueError)


def _say_waiting(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        log.warning("waiting_for_postgres")
