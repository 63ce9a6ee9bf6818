"""Migrations under traffic: none holds it up for a second, a bad one is noticed, and one that stops goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection

from core.db import migrate
from core.settings import DatabaseSettings
from migrations import online
from tests.support.migration_load import seed, traffic
from tests.support.servers import Servers, name_of, open_database_copy, owner_url
from tests.support.versions import add_version
from tests.support.waiting import eventually

# The last version that was written without migrations/online.py.
BEFORE = "0002"
ROWS = 20_000


def every_change() -> None:
    if not online.has_table("notes"):
        op.create_table(
            "notes",
            sa.Column("id", sa.Uuid(), primary_key=True),
            sa.Column("job_id", sa.Uuid()),
            sa.Column("tenant_id", sa.Uuid()),
            sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        )
    online.add_column("deliveries", sa.Column("note_id", sa.Uuid()))
    online.add_column("deliveries", sa.Column("weight", sa.SmallInteger()))
    online.add_column("jobs", sa.Column("colour", sa.Text(), server_default="red", nullable=False))
    # First, or the release before would go on writing rows that are to be filled.
    online.set_default("deliveries", "weight", "1")
    online.backfill("deliveries", "weight = attempts + 1", "weight IS NULL")
    online.set_not_null("deliveries", "weight")
    online.add_check("deliveries", "ck_deliveries_weight", "weight > 0")
    online.create_index("ix_deliveries_weight", "deliveries", ["weight", "id"], where="weight > 1")
    online.create_index("ix_jobs_colour", "jobs", ["colour", "id", "tenant_id"], unique=True)
    online.add_foreign_key("fk_deliveries_note_id", "deliveries", ["note_id"], "notes", ["id"], ondelete="SET NULL")


def every_change_undone() -> None:
    online.drop_constraint("deliveries", "fk_deliveries_note_id")
    online.drop_index("ix_jobs_colour")
    online.drop_index("ix_deliveries_weight")
    online.drop_constraint("deliveries", "ck_deliveries_weight")
    online.drop_not_null("deliveries", "weight")
    online.drop_column("jobs", "colour")
    online.drop_column("deliveries", "weight")
    online.drop_column("deliveries", "note_id")
    op.drop_table("notes", if_exists=True)


def a_lock_that_is_kept() -> None:
    op.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
    op.execute("SELECT pg_sleep(1.5)")


def a_lock_on_a_table_at_rest() -> None:
    op.execute("LOCK TABLE results IN SHARE ROW EXCLUSIVE MODE")
    op.execute("SELECT pg_sleep(1.5)")


def a_plain_index() -> None:
    op.create_index("ix_jobs_model", "jobs", ["model"])


def a_checked_constraint() -> None:
    op.create_check_constraint("ck_deliveries_attempts", "deliveries", "attempts >= 0")


def a_stored_column() -> None:
    op.add_column("deliveries", sa.Column("twice", sa.Integer(), sa.Computed("attempts * 2", persisted=True)))


def an_index() -> None:
    online.create_index("ix_jobs_model", "jobs", ["model"])


def a_column() -> None:
    online.add_column("jobs", sa.Column("colour", sa.Text()))


def never_filled() -> None:
    online.backfill("jobs", "model = model", "model IS NOT NULL")


def the_end_of_its_lock() -> None:
    op.execute("CREATE TABLE half_done ()")
    op.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted")


def the_end_of_its_connection() -> None:
    online.backfill("pg_class", "relname = relname", "pg_terminate_backend(pg_backend_pid())")


@pytest.fixture(scope="module")
async def filled(servers: Servers) -> AsyncIterator[str]:
    """The name of a database at the version BEFORE, with rows in every table that grows."""
    async with open_database_copy(servers) as settings:
        await migrate.upgrade(settings, BEFORE)
        await seed(settings, ROWS)
        yield name_of(settings)


@pytest.fixture
async def busy_database(servers: Servers, filled: str) -> AsyncIterator[DatabaseSettings]:
    """A copy of it."""
    async with open_database_copy(servers, template=filled) as settings:
        yield settings


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again at once."""
    monkeypatch.setattr(migrate, "_LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(migrate, "_PAUSE_SECONDS", (0.0, 0.0))


@pytest.fixture
async def connection(fresh_database: DatabaseSettings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """To the test's own, empty database."""
    opened = await asyncpg.connect(owner_url(fresh_database), server_settings={"app.fleet": "on"})
    try:
        yield opened
    finally:
        await opened.close()


async def fetchval(settings: DatabaseSettings, query: str) -> object:
    connection = await asyncpg.connect(owner_url(settings))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_the_newest_versions_do_not_hold_up_traffic(busy_database: DatabaseSettings) -> None:
    async with traffic(busy_database) as observed:
        await migrate.upgrade(busy_database)

    assert observed.faults == [], observed.longest
    assert await migrate.drift(busy_database) == []


async def test_no_change_that_online_makes_holds_up_traffic(
    busy_database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate.upgrade(busy_database)
    before = migrate.newest_revision()
    revision = add_version(tmp_path, monkeypatch, every_change, every_change_undone)

    async with traffic(busy_database) as observed:
        await migrate.upgrade(busy_database)
        assert await migrate.current_revision(owner_url(busy_database)) == revision
        wrong = "SELECT count(*) FROM deliveries WHERE weight IS NULL OR weight NOT IN (1, 2)"
        assert await fetchval(busy_database, wrong) == 0
        await migrate.downgrade(busy_database, before)

    assert observed.faults == [], observed.longest
    assert await migrate.drift(busy_database) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (a_lock_that_is_kept, "waited for a lock for 1s"),
        (a_lock_on_a_table_at_rest, "held ShareRowExclusiveLock on results for more than 1s"),
        (a_plain_index, "CREATE INDEX read rows of jobs under ShareLock"),
        (a_checked_constraint, "ALTER TABLE read rows of deliveries under AccessExclusiveLock"),
        (a_stored_column, "ALTER TABLE wrote deliveries anew"),
    ],
)
async def test_a_version_that_would_hold_up_traffic_is_noticed(
    change: Callable[[], None],
    fault: str,
    busy_database: DatabaseSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await migrate.upgrade(busy_database)
    add_version(tmp_path, monkeypatch, change)

    async with traffic(busy_database) as observed:
        await migrate.upgrade(busy_database)

    assert any(fault in found for found in observed.faults), observed.faults


async def test_a_version_that_stops_at_any_step_goes_on_when_it_is_run_again(
    busy_database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project's own versions since BEFORE too, up and down."""
    add_version(tmp_path, monkeypatch, every_change, every_change_undone)

    stops = await stopped_everywhere(lambda: migrate.upgrade(busy_database), monkeypatch)
    assert stops >= 10
    assert await migrate.current_revision(owner_url(busy_database)) == migrate.newest_revision()
    stops = await stopped_everywhere(lambda: migrate.downgrade(busy_database, BEFORE), monkeypatch)
    assert stops > 5
    monkeypatch.undo()
    await migrate.upgrade(busy_database)
    assert await migrate.drift(busy_database) == []


async def stopped_everywhere(run: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs it until it ends, each time stopped one step later; returns how often it was stopped."""
    ours, steps = online._alone, iter(range(0))

    class Stop(Exception):
        pass

    @contextmanager
    def stopping(limits: dict[str, str]) -> Iterator[Connection]:
        with ours(limits) as connection:
            if next(steps, None) is None:
                raise Stop
            yield connection

    for stop_after in count():
        steps = iter(range(stop_after))
        with monkeypatch.context() as patch, suppress(Stop):
            patch.setattr(online, "_alone", stopping)
            await run()
            return stop_after
    raise AssertionError


@pytest.mark.usefixtures("hurried")
async def test_an_index_that_was_not_finished_is_made_anew(
    fresh_database: DatabaseSettings,
    connection: "asyncpg.Connection[asyncpg.Record]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_version(tmp_path, monkeypatch, an_index)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_jobs_model')"
    builder = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%'"
    async with asyncio.TaskGroup() as tasks:
        async with connection.transaction():
            # It is waited for: it might have written rows that the index does not see.
            await connection.execute("LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
            upgrade = tasks.create_task(migrate.upgrade(fresh_database))
            begun = "SELECT to_regclass('ix_jobs_model') IS NOT NULL"
            await eventually(lambda: fetchval(fresh_database, begun), what="it is begun, and waits")
            first = await fetchval(fresh_database, "SELECT 'ix_jobs_model'::regclass::oid")
            assert await fetchval(fresh_database, valid) is False
            assert await fetchval(fresh_database, builder)
            # What is left of it is in nobody's way, but an index must have seen the end of all that may use it.
            dropped = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'DROP INDEX CONCURRENTLY%'"
            await eventually(lambda: fetchval(fresh_database, dropped), what="it is dropped")
        await upgrade

    assert await fetchval(fresh_database, valid) is True
    assert await fetchval(fresh_database, "SELECT 'ix_jobs_model'::regclass::oid") != first


@pytest.mark.usefixtures("hurried")
async def test_a_migration_that_waits_is_not_waited_for(
    fresh_database: DatabaseSettings,
    connection: "asyncpg.Connection[asyncpg.Record]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CONCURRENTLY waits for all older snapshots: that of a second migration, too, if it had one."""
    add_version(tmp_path, monkeypatch, an_index)
    waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = $$advisory$$ AND NOT granted"
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks, connection.transaction():
        await connection.execute("LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
        tasks.create_task(migrate.upgrade(fresh_database))
        made = "SELECT to_regclass('ix_jobs_model') IS NOT NULL"
        await eventually(lambda: fetchval(fresh_database, made), what="the index is begun")
        tasks.create_task(migrate.upgrade(fresh_database))
        await eventually(lambda: fetchval(fresh_database, waits), what="the second migration waits")

    assert await migrate.current_revision(owner_url(fresh_database)) == migrate.newest_revision()


@pytest.mark.usefixtures("hurried")
async def test_a_busy_table_is_tried_again(
    fresh_database: DatabaseSettings,
    connection: "asyncpg.Connection[asyncpg.Record]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_version(tmp_path, monkeypatch, a_column)
    tries = 0
    ours = migrate._run

    async def counted(*arguments: Any) -> None:
        nonlocal tries
        tries += 1
        await ours(*arguments)

    monkeypatch.setattr(migrate, "_run", counted)
    async with asyncio.TaskGroup() as tasks, connection.transaction():
        await connection.execute("LOCK TABLE jobs IN ACCESS SHARE MODE")
        tasks.create_task(migrate.upgrade(fresh_database))
        await eventually(lambda: tries > 2, what="it is tried again")

    assert await migrate.current_revision(owner_url(fresh_database)) == migrate.newest_revision()


async def test_a_backfill_that_finds_no_end_says_so(
    fresh_database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed(fresh_database, 100)
    monkeypatch.setattr(online, "_PASSES", 2)
    add_version(tmp_path, monkeypatch, never_filled)

    with pytest.raises(migrate.MigrationStopped, match="jobs: rows with model IS NOT NULL are left after 2 passes"):
        await migrate.upgrade(fresh_database)


@pytest.mark.parametrize("change", [the_end_of_its_lock, the_end_of_its_connection])
async def test_a_migration_that_lost_a_connection_stops(
    change: Callable[[], None], fresh_database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = migrate.newest_revision()
    add_version(tmp_path, monkeypatch, change)

    with pytest.raises(migrate.MigrationStopped, match=f"complete up to version {before}; .*`inferd migrate` again"):
        await migrate.upgrade(fresh_database)

    assert await fetchval(fresh_database, "SELECT to_regclass('half_done') IS NULL")
