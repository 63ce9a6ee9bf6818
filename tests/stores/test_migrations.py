"""Migrations: one line of versions, up and down and up, all or nothing, one at a time, and the tables they make."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import CheckConstraint

from core.access.tenants import create_tenant, find_tenant
from core.db import migrate
from core.db.engine import open_database
from core.db.sealed import make_sealer
from core.db.tables import metadata
from core.settings import DatabaseSettings
from migrations import online
from tests.conftest import OwnerPool
from tests.support.servers import Servers, name_of, open_database_copy, owner_url
from tests.support.versions import add_version
from tests.support.waiting import eventually

TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"


@asynccontextmanager
async def connected(settings: DatabaseSettings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(owner_url(settings))
    try:
        yield connection
    finally:
        await connection.close()


async def tables(settings: DatabaseSettings) -> set[str]:
    async with connected(settings) as connection:
        return {row["tablename"] for row in await connection.fetch(TABLES)}


def test_the_versions_have_one_head_and_one_base() -> None:
    script = ScriptDirectory.from_config(migrate._config())

    assert script.get_heads() == [migrate.newest_revision()]
    assert len(script.get_bases()) == 1


async def test_up_down_and_up_again_leads_to_the_same(empty_database: DatabaseSettings) -> None:
    assert await migrate.current_revision(owner_url(empty_database)) is None

    await migrate.upgrade(empty_database)
    assert await migrate.current_revision(owner_url(empty_database)) == migrate.newest_revision()
    assert await tables(empty_database) == {*metadata.tables, "alembic_version"}

    await migrate.downgrade(empty_database, "base")
    assert await migrate.current_revision(owner_url(empty_database)) is None
    assert await tables(empty_database) == {"alembic_version"}
    async with connected(empty_database) as connection:
        left = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        assert await connection.fetchval(left) == 0

    await migrate.upgrade(empty_database)
    assert await migrate.drift(empty_database) == []


async def test_upgrading_what_is_new_changes_nothing(fresh_database: DatabaseSettings) -> None:
    await migrate.upgrade(fresh_database)

    assert await migrate.current_revision(owner_url(fresh_database)) == migrate.newest_revision()
    assert await migrate.drift(fresh_database) == []


async def test_the_metadata_of_jobs_that_are_there_can_be_looked_for(fresh_database: DatabaseSettings) -> None:
    """Also that of jobs which the release before inserts, which knows nothing of the table."""
    jobs = """
        INSERT INTO jobs (id, tenant_id, model, request, meta, priority, run_at, timeout_seconds, max_attempts)
        SELECT gen_random_uuid(), $1, 'echo/echo', '\\x00', meta, 'standard', now(), 1, 1
        FROM unnest($2::text[]) AS given, CAST (given AS jsonb) AS meta
    """
    async with await open_database(fresh_database, name="operator", fleet=True) as database:
        tenant_id = await create_tenant(database, make_sealer(None), "somebody")
    await migrate.downgrade(fresh_database, "0005-1")
    async with connected(fresh_database) as connection:
        await connection.execute("SET app.fleet = 'on'")
        await connection.execute(jobs, tenant_id, ['{"a": "1", "b": "2"}'] * 3 + ["{}"] * 6000)
        await migrate.upgrade(fresh_database)
        await connection.execute(jobs, tenant_id, ['{"a": "3"}', "{}"])
        found = await connection.fetch("SELECT key, value, count(*) FROM job_metadata GROUP BY 1, 2 ORDER BY 1, 2")
        assert [tuple(row) for row in found] == [("a", "1", 3), ("a", "3", 1), ("b", "2", 3)]

        await connection.execute("DELETE FROM jobs")
        assert await connection.fetchval("SELECT count(*) FROM job_metadata") == 0


async def test_a_difference_between_tables_and_database_is_seen(fresh_database: DatabaseSettings) -> None:
    async with connected(fresh_database) as connection:
        await connection.execute(
            """
            ALTER TABLE jobs ADD COLUMN forgotten text;
            ALTER TABLE jobs DROP COLUMN queue_ms;
            ALTER TABLE jobs ALTER COLUMN run_no TYPE bigint;
            ALTER TABLE jobs ALTER COLUMN model DROP NOT NULL;
            ALTER TABLE jobs ALTER COLUMN version SET DEFAULT 7;
            DROP INDEX ix_jobs_list;
            DROP TABLE results;
            ALTER TABLE idempotency DROP CONSTRAINT fk_idempotency_tenant_id;
            """
        )

    kinds = {_kind(difference) for difference in await migrate.drift(fresh_database)}

    assert kinds == {"remove_column", "add_column", "modify_type", "modify_nullable", "modify_default", "add_index",
                     "add_table", "add_fk"}  # fmt: skip


def _kind(difference: Any) -> str:
    while isinstance(difference, list):
        difference = difference[0]
    return str(difference[0])


async def test_the_database_has_the_checks_of_the_tables(owner: OwnerPool) -> None:
    """Autogenerate does not look at CHECKs."""
    made = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }

    found = await owner.fetch(
        "SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
    )

    assert {row["conname"] for row in found} == made
    assert made


async def test_two_migrations_at_once_wait_for_each_other(empty_database: DatabaseSettings) -> None:
    await asyncio.gather(*(migrate.upgrade(empty_database) for _ in range(3)))

    assert await migrate.current_revision(owner_url(empty_database)) == migrate.newest_revision()
    assert await migrate.drift(empty_database) == []


async def test_a_migration_waits_for_the_one_that_runs(empty_database: DatabaseSettings) -> None:
    async with connected(empty_database) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", migrate._LOCK_KEY)
        upgrade = asyncio.create_task(migrate.upgrade(empty_database))
        waiting = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await eventually(lambda: connection.fetchval(waiting), what="the migration waits")
        assert await tables(empty_database) == set()

        await connection.execute("SELECT pg_advisory_unlock($1)", migrate._LOCK_KEY)
        await upgrade

    assert await migrate.current_revision(owner_url(empty_database)) == migrate.newest_revision()


async def test_a_migration_does_not_stand_in_the_way_of_traffic_and_fails_whole(
    fresh_database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(migrate, "_PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(migrate, "_TRIES", 2)
    await migrate.downgrade(fresh_database, "0002")
    async with connected(fresh_database) as connection, connection.transaction():
        # A transaction that reads: dropping the table would have to wait for it, and everybody else for the drop.
        await connection.fetch("SELECT count(*) FROM tenants")
        with pytest.raises(migrate.MigrationStopped, match="is complete up to version"):
            await migrate.downgrade(fresh_database, "base")

    # The versions before it are undone, this one is not begun.
    assert {"tenants", "jobs", "deliveries", "alembic_version"} <= await tables(fresh_database)
    await migrate.upgrade(fresh_database)
    assert await migrate.drift(fresh_database) == []


async def test_a_lock_is_waited_for_less_than_a_second_by_default() -> None:
    assert migrate._LOCK_TIMEOUT == "500ms"


def renamed_tenants() -> None:
    online.backfill("tenants", "name = 'renamed'", "name <> 'renamed'")


async def test_an_owner_who_is_no_superuser_can_migrate_and_serve(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"owner_{uuid.uuid4().hex[:8]}"
    administrator = await asyncpg.connect(servers.owner_url)
    try:
        await administrator.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'test' NOSUPERUSER")
        await administrator.execute(f"GRANT inferd_app TO {role}")
        async with open_database_copy(servers) as made:
            await administrator.execute(f"ALTER DATABASE {name_of(made)} OWNER TO {role}")
            settings = DatabaseSettings(url=SecretStr(_as(role, owner_url(made))), pool_size=2)

            await migrate.upgrade(settings)

            async with await open_database(settings, name="operator", fleet=True) as database:
                tenant_id = await create_tenant(database, make_sealer(None), "somebody")
                assert await find_tenant(database, "somebody") == tenant_id
            async with connected(settings) as connection:
                # Forced: not even the owner sees rows without saying whose.
                assert await connection.fetch("SELECT * FROM tenants") == []

            # But a migration is about all rows.
            add_version(tmp_path, monkeypatch, renamed_tenants)
            await migrate.upgrade(settings)
            async with await open_database(settings, name="operator", fleet=True) as database:
                assert await find_tenant(database, "renamed") == tenant_id
    finally:
        await administrator.execute(f"DROP ROLE IF EXISTS {role}")
        await administrator.close()


def _as(role: str, url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:test@{parts.netloc.rpartition('@')[2]}"))
