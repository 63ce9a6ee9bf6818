"""Brings the schema to the newest version. Called by `inferd migrate`, the embedded servers and the tests.

One transaction under an advisory lock: two migrations at once wait for each other, a failed one leaves nothing
behind, and a lock held by somebody else fails it after a few seconds instead of stopping the traffic behind it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

import migrations
from core.db.engine import sqlalchemy_url
from core.db.tables import metadata
from core.settings import DatabaseSettings

_LOCK_KEY: Final = 0x1FE4D
_LOCK_TIMEOUT: Final = "5s"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
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
    """Upgrades as the schema's owner. Raises sqlalchemy.exc.DBAPIError when it can't; nothing is half-done then."""
    await _run(settings, lambda sync: command.upgrade(_config(sync), revision))


async def downgrade(settings: DatabaseSettings, revision: str) -> None:
    """Goes back to `revision` (`base` is an empty schema), with all the loss of data that this means."""
    await _run(settings, lambda sync: command.downgrade(_config(sync), revision))


async def drift(settings: DatabaseSettings) -> list[object]:
    """What autogenerate would add to make the database look like the tables; empty when they agree."""
    found: list[object] = []

    def compare(sync: Connection) -> None:
        context = MigrationContext.configure(sync, opts={"compare_type": True, "compare_server_default": True})
        found.extend(compare_metadata(context, metadata))

    await _run(settings, compare)
    return found


async def _run(settings: DatabaseSettings, action: Callable[[Connection], None]) -> None:
    engine = create_async_engine(
        sqlalchemy_url((settings.owner_url or settings.url).get_secret_value()), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await _lock(connection)
            await connection.run_sync(action)
    finally:
        await engine.dispose()


async def _lock(connection: AsyncConnection) -> None:
    # The advisory lock may be waited for (another migration); table locks may not (live traffic).
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
