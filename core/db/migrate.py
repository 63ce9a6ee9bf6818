"""Brings the schema to the newest version. `inferd migrate`, the embedded servers and the tests call it.

Each version has a transaction of its own, and the functions of migrations/online.py have several. One migration runs at
a time. It waits so briefly for a lock on a table that traffic hardly notices; then it tries the version again. A
migration that stops can be run again: the versions before are done, and the one that it stopped in starts again and
skips what it did.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random

import migrations
from core.db.engine import DatabaseUnusable, sqlalchemy_url
from core.db.faults import STORE_FAULTS, driver_error, explain_fault
from core.db.tables import metadata
from core.settings import DatabaseSettings
from migrations.online import BackfillUnfinished

_SCRIPTS: Final = Path(migrations.__file__).parent
# The suite adds a folder with versions of its own.
_VERSIONS: Final = [_SCRIPTS / "versions"]
_LOCK_KEY: Final = 0x1FE4D
# Whatever a table's lock is waited for, all traffic on the table waits behind.
_LOCK_TIMEOUT: Final = "500ms"
# Time for the traffic to catch up.
_PAUSE_SECONDS: Final = (1.0, 2.0)
_TRIES: Final = 60
_SERVER_SETTINGS: Final = {
    "application_name": "inferd-migrate",
    # Row-level security is forced on the owner too: backfills and checks of foreign keys are about all tenants' rows.
    "app.fleet": "on",
    # An index of a large table takes as long as it takes, whatever the login is limited to.
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    # A migration that stands still keeps its locks.
    "idle_in_transaction_session_timeout": "5s",
    # PostgreSQL notices within seconds when the migration's host is gone, and lets the next one begin.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "timezone": "UTC",
}
# An autovacuum gives way to a lock that was waited for this long, and _LOCK_TIMEOUT is less than the default.
_GIVE_WAY: Final = """
DO $$ BEGIN
    SET deadlock_timeout = '100ms';
EXCEPTION WHEN insufficient_privilege THEN
    NULL; -- Only a superuser may: the migration then waits until the autovacuum is done.
END $$
"""
# What the next try may well not meet: a lock held by somebody, or a brief statement that was not done in time.
_BUSY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)
# The message of faults.py says more than PostgreSQL's.
_EXPLAINED: Final = (asyncpg.LockNotAvailableError, asyncpg.InsufficientPrivilegeError)

log = structlog.get_logger(__name__)


class MigrationStopped(DatabaseUnusable):
    """A version could not be completed; the message says why, how far the schema is, and what to do."""


def _config(connection: Connection | None = None, on_version_apply: Callable[..., None] | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(folder) for folder in _VERSIONS))
    config.attributes["connection"] = connection
    config.attributes["on_version_apply"] = on_version_apply
    return config


def newest_revision() -> str:
    """The one head of the version files."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - the project ships at least one version
    return head


async def current_revision(url: str) -> str | None:
    """The version that the database is at; None for an empty one."""
    engine = create_async_engine(sqlalchemy_url(url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    finally:
        await engine.dispose()


async def upgrade(settings: DatabaseSettings, revision: str = "head") -> None:
    """Upgrades as the schema's owner. Raises MigrationStopped, after which it may be called again to go on."""
    await _migrate(settings, lambda config: command.upgrade(config, revision))


async def downgrade(settings: DatabaseSettings, revision: str) -> None:
    """Goes back to `revision` (`base` is an empty schema), with all the loss of data that this means."""
    await _migrate(settings, lambda config: command.downgrade(config, revision))


async def drift(settings: DatabaseSettings) -> list[object]:
    """What autogenerate would add to make the database look like the tables; empty when they agree."""
    found: list[object] = []

    def compare(sync: Connection) -> None:
        context = MigrationContext.configure(sync, opts={"compare_type": True, "compare_server_default": True})
        found.extend(compare_metadata(context, metadata))

    async with _open(settings) as engine, engine.connect() as connection:
        await connection.run_sync(compare)
    return found


async def _migrate(settings: DatabaseSettings, action: Callable[[Config], None]) -> None:
    tries = AsyncRetrying(
        retry=retry_if_exception(_is_busy),
        wait=wait_random(*_PAUSE_SECONDS),
        stop=stop_after_attempt(_TRIES),
        before_sleep=_say_busy,
        reraise=True,
    )
    async with _open(settings) as engine, _only_one(engine) as lock:
        try:
            await tries(_run, engine, lock, action)
        except (DBAPIError, PendingRollbackError, BackfillUnfinished) as error:
            raise MigrationStopped(await _explained(settings, error)) from error


async def _run(engine: AsyncEngine, lock: AsyncConnection, action: Callable[[Config], None]) -> None:
    def check_lock(**_: object) -> None:
        # Before a version is committed: raises when PostgreSQL ended the connection, and with it the lock.
        assert lock.sync_connection is not None  # noqa: S101 - it is open
        lock.sync_connection.execute(text("SELECT 1"))

    async with engine.connect() as connection:
        await connection.execute(text(_GIVE_WAY))
        await connection.commit()
        await connection.run_sync(lambda sync: action(_config(sync, check_lock)))


@asynccontextmanager
async def _open(settings: DatabaseSettings) -> AsyncIterator[AsyncEngine]:
    url = sqlalchemy_url((settings.owner_url or settings.url).get_secret_value())
    server_settings = {**_SERVER_SETTINGS, "lock_timeout": _LOCK_TIMEOUT}
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"server_settings": server_settings})
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def _only_one(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Waits for the migration that runs, then keeps others out. PostgreSQL ends the lock with the connection."""
    async with engine.connect() as connection:
        # The lock is the session's: versions commit. And no transaction stays open that CONCURRENTLY would wait for.
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        # In short waits: a statement that waits has a snapshot, and the migration that runs may itself wait for the
        # end of all older ones (CONCURRENTLY), so that both would wait for ever.
        while not await _locked(connection):
            pass
        yield connection


async def _locked(connection: AsyncConnection) -> bool:
    try:
        await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
    except DBAPIError as error:
        if not isinstance(driver_error(error), asyncpg.LockNotAvailableError):
            raise
        return False
    return True


async def _explained(settings: DatabaseSettings, error: BaseException) -> str:
    # After a lost connection alembic tries to commit, and fails over that.
    first = error.__context__ if isinstance(error, PendingRollbackError) else None
    cause = driver_error(first or error)
    reason = explain_fault(error) if isinstance(cause, _EXPLAINED) else None
    try:
        at = await current_revision((settings.owner_url or settings.url).get_secret_value())
    except STORE_FAULTS:
        done = "How far it came can't be read now"
    else:
        done = f"The schema is complete up to version {at}" if at else "No version is complete"
    return (
        f"The migration stopped: {reason or _first_line(cause)}\n"
        f"{done}; the next version may be half done. Run `inferd migrate` again: it goes on there."
    )


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _is_busy(error: BaseException) -> bool:
    return isinstance(driver_error(error), _BUSY)


def _say_busy(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        error = state.outcome.exception()
        assert error is not None  # noqa: S101 - nothing else is tried again
        log.warning("migration_waiting_for_lock", reason=_first_line(driver_error(error)))
