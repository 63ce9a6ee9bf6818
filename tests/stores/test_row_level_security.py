"""Row-level security: a query without its WHERE returns no other tenant's row, whichever way it is sent."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.access.tenants import list_keys, revoke_key
from core.db.engine import APP_ROLE, Database, open_database
from core.db.sealed import make_sealer
from core.db.session import Connection, NoTenant, hot_transaction, reading, transaction
from core.db.tables import TENANT_TABLES
from core.domain import transitions
from core.domain.errors import Gone, NotFound
from core.domain.ids import JobId, TenantId, new_uuid
from core.jobs import queries, store
from core.jobs.queries import JobFilter
from core.jobs.records import Change, JobKey, Run
from core.runtime import ApiRuntime
from core.settings import DatabaseSettings
from tests.conftest import OwnerPool
from tests.support.servers import owner_url
from tests.support.tenants import Tenant

TABLES = ("tenants", *TENANT_TABLES)
SEED = """
INSERT INTO jobs (id, tenant_id, model, request, priority, run_at, timeout_seconds, max_attempts, meta)
    VALUES ($1, $2, 'echo/echo', '\\x00', 'standard', now(), 1, 1, '{"key": "value"}');
INSERT INTO attempts (job_id, tenant_id, run_no, attempt, worker_id, provider) VALUES ($1, $2, 1, 1, 'w', 'echo');
INSERT INTO results (job_id, tenant_id, run_no, output) VALUES ($1, $2, 1, '\\x00');
INSERT INTO deleted_jobs (id, tenant_id) VALUES ($1, $2);
INSERT INTO idempotency (tenant_id, key, fingerprint, job_id, expires_at) VALUES ($2, 'same', '\\x00', $1, now());
INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret) VALUES ($1, $2, 'n', 'u', '{}', '\\x00');
INSERT INTO deliveries (id, tenant_id, job_id, event_id, event_type, url, body)
    VALUES ($1, $2, $1, $1, 'job.failed', 'u', '\\x00');
INSERT INTO delivery_attempts (delivery_id, tenant_id, attempt, trigger, started_at, worker_id)
    VALUES ($1, $2, 1, 'scheduled', now(), 'w');
INSERT INTO retired_webhook_secrets (endpoint_id, tenant_id, id, secret, expires_at) VALUES ($1, $2, $1, '\\x00', now());
INSERT INTO webhook_recoveries (id, tenant_id, endpoint_id, since, until, statuses, total)
    VALUES ($1, $2, $1, now(), now(), '{}', 1);
"""


@pytest.fixture(autouse=True)
async def seeded(owner: OwnerPool, tenant: Tenant, other_tenant: Tenant) -> dict[TenantId, UUID]:
    """A row of each tenant's in every table; tenant → the id of its rows."""
    made = {tenant.id: new_uuid(), other_tenant.id: new_uuid()}
    async with owner.acquire() as connection, connection.transaction():
        for tenant_id, row_id in made.items():
            for statement in SEED.split(";")[:-1]:
                given = [each for number, each in ((1, row_id), (2, tenant_id)) if f"${number}" in statement]
                await connection.execute(statement, *given)
    return made


def column(table: str) -> str:
    return "id" if table == "tenants" else "tenant_id"


async def by_session(database: Database, tenant_id: TenantId, query: str) -> list[UUID]:
    async with reading(database, tenant_id) as session:
        return list((await (await session.connection()).execute(text(query))).scalars())


async def by_driver(database: Database, tenant_id: TenantId, query: str) -> list[UUID]:
    async with hot_transaction(database, [tenant_id]) as connection:
        return [row[0] for row in await connection.fetch(query)]


Ask = Callable[[Database, TenantId, str], Awaitable[list[UUID]]]
each_way = pytest.mark.parametrize("ask", [by_session, by_driver])


@each_way
async def test_a_query_without_where_sees_the_tenants_own_rows_alone(
    database: Database, tenant: Tenant, other_tenant: Tenant, ask: Ask
) -> None:
    for each in (tenant, other_tenant):
        seen = {table: await ask(database, each.id, f"SELECT {column(table)} FROM {table}") for table in TABLES}
        assert seen == {table: [each.id] for table in TABLES}


async def test_a_batch_sees_the_tenants_that_are_in_it(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    async def seen(tenant_ids: Collection[UUID]) -> dict[str, set[UUID]]:
        async with hot_transaction(database, tenant_ids) as connection:
            return {
                table: {row[0] for row in await connection.fetch(f"SELECT {column(table)} FROM {table}")}
                for table in TABLES
            }

    both = [tenant.id, other_tenant.id, tenant.id]
    for tenant_ids in (both, [other_tenant.id], []):
        assert await seen(tenant_ids) == {table: set(tenant_ids) for table in TABLES}


async def test_the_fleet_sees_everybody(fleet: Database, tenant: Tenant, other_tenant: Tenant) -> None:
    for table in TABLES:
        async with hot_transaction(fleet, None) as connection:
            seen = {row[0] for row in await connection.fetch(f"SELECT {column(table)} FROM {table}")}
        assert seen == {tenant.id, other_tenant.id}


async def test_a_fleet_that_names_a_tenant_still_sees_everybody_so_its_queries_say_where(fleet: Database) -> None:
    """The fleet's setting is the connection's: what limits a worker is its statements, not this net."""
    async with reading(fleet, TenantId(new_uuid())) as session:
        count = (await (await session.connection()).execute(text("SELECT count(*) FROM jobs"))).scalar_one()

    assert count == 2


async def test_without_a_tenant_there_is_nothing_on_a_fresh_and_on_a_used_connection(
    database: Database, tenant: Tenant
) -> None:
    async def counts(connection: Connection) -> dict[str, int]:
        return {table: len(await connection.fetch(f"SELECT * FROM {table}")) for table in TABLES}

    async with database.pool.acquire() as connection:
        assert await counts(connection) == dict.fromkeys(TABLES, 0)
        async with connection.transaction():
            await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant.id))
            await connection.execute("SELECT set_config('app.tenant_ids', $1, true)", f"{{{tenant.id}}}")
            await connection.execute("SELECT set_config('app.key_id', 'x', true)")
            assert await counts(connection) == dict.fromkeys(TABLES, 1)
        # The settings are '' now, not NULL: still nothing, and no error.
        assert await counts(connection) == dict.fromkeys(TABLES, 0)


async def test_nobody_in_particular_is_refused_before_the_database_is_asked(database: Database) -> None:
    for open_transaction in (reading, transaction):
        with pytest.raises(NoTenant):
            async with open_transaction(database, None):
                raise AssertionError("opened")
    with pytest.raises(NoTenant):
        async with hot_transaction(database, None):
            raise AssertionError("opened")


async def test_no_connection_carries_a_tenant_to_its_next_borrower(database: Database, tenant: Tenant) -> None:
    held = []
    for _ in range(8):
        async with transaction(database, tenant.id), hot_transaction(database, [tenant.id]):
            pass
    settings = "SELECT current_setting('app.tenant_id', true), current_setting('app.tenant_ids', true)"
    async with database.engine.connect() as connection:
        held += [tuple(row) for row in await connection.execute(text(settings))]
    for _ in range(database.pool.get_size()):
        held += [tuple(row) for row in await database.pool.fetch(settings)]

    assert all(value in (None, "") for row in held for value in row)


async def test_a_change_without_where_changes_the_tenants_own_rows_alone(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    for table in TABLES:
        async with hot_transaction(database, [tenant.id]) as connection:
            await connection.execute("SAVEPOINT before")
            assert await connection.execute(f"UPDATE {table} SET {column(table)} = {column(table)}") == "UPDATE 1"
            assert await connection.execute(f"DELETE FROM {table}") == "DELETE 1"
            await connection.execute("SET LOCAL app.fleet = 'on'")
            left = await connection.fetch(f"SELECT {column(table)} FROM {table}")
            assert [row[0] for row in left] == [other_tenant.id], table
            # The next table has all its rows again: deleting a tenant or a job deletes what belongs to it.
            await connection.execute("ROLLBACK TO before")


async def test_nothing_can_be_written_for_somebody_else(
    database: Database, owner: OwnerPool, tenant: Tenant, other_tenant: Tenant
) -> None:
    for table in TABLES:
        columns = ", ".join(
            row["name"]
            for row in await owner.fetch(
                "SELECT column_name::text AS name FROM information_schema.columns"
                " WHERE table_name = $1 AND is_generated = 'NEVER'",
                table,
            )
        )
        copy = f"""
            INSERT INTO {table} ({columns}) SELECT {columns}
            FROM (
                SELECT (jsonb_populate_record(own, jsonb_build_object('{column(table)}', $1::uuid))).*
                FROM {table} AS own
            ) AS theirs
        """
        for statement in (copy, f"UPDATE {table} SET {column(table)} = $1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                async with hot_transaction(database, [tenant.id]) as connection:
                    await connection.execute(statement, new_uuid() if table == "tenants" else other_tenant.id)


async def test_sessions_are_refused_alike(database: Database, tenant: Tenant, other_tenant: Tenant) -> None:
    async with transaction(database, tenant.id) as session:
        connection = await session.connection()
        with pytest.raises(DBAPIError, match="row-level security"):
            await connection.execute(text("UPDATE jobs SET tenant_id = :id"), {"id": other_tenant.id})


async def test_a_read_session_can_not_write(database: Database, tenant: Tenant) -> None:
    with pytest.raises(DBAPIError, match="read-only transaction"):
        async with reading(database, tenant.id) as session:
            await (await session.connection()).execute(text("DELETE FROM jobs"))


async def test_a_foreign_key_is_no_way_to_another_tenants_row(
    database: Database, tenant: Tenant, seeded: dict[TenantId, UUID], other_tenant: Tenant
) -> None:
    """Foreign keys are checked outside row-level security; the tenant is part of each, so they find nothing."""
    for statement in (
        "INSERT INTO attempts (job_id, tenant_id, run_no, attempt, worker_id, provider) VALUES ($1, $2, 9, 9, '', '')",
        "INSERT INTO results (job_id, tenant_id, run_no, output) VALUES ($1, $2, 9, '')",
    ):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with hot_transaction(database, [tenant.id]) as connection:
                await connection.execute(statement, seeded[other_tenant.id], tenant.id)


async def test_a_key_is_found_by_what_was_presented_and_by_nothing_else(
    api_runtime: ApiRuntime, tenant: Tenant, other_tenant: Tenant
) -> None:
    public_id = tenant.key.split("_")[2]
    async with api_runtime.database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT set_config('app.key_id', $1, true)", public_id)
        found: list[Any] = await connection.fetch("SELECT public_id, tenant_id FROM api_keys")
        assert [tuple(row) for row in found] == [(public_id, tenant.id)]
        assert await connection.execute("UPDATE api_keys SET name = 'mine'") == "UPDATE 0"
        assert await connection.fetch("SELECT * FROM tenants") == []


async def test_the_role_is_nobody_special(database: Database) -> None:
    async with database.pool.acquire() as connection, database.engine.connect() as other:
        assert await connection.fetchval("SELECT current_user::text") == APP_ROLE
        assert (await other.execute(text("SELECT current_user::text"))).scalar_one() == APP_ROLE
        # Only a role that is subject to the policies gets this error.
        await connection.execute("SET row_security = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM jobs")
        await connection.execute("RESET row_security")
        for statement in ("TRUNCATE jobs", "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY", "CREATE TABLE mine (id int)",
                          "DROP POLICY fleet ON jobs", "DELETE FROM alembic_version"):  # fmt: skip
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_the_callers_queries_name_their_tenant_and_do_not_need_the_net(
    fleet: Database, tenant: Tenant, other_tenant: Tenant, seeded: dict[TenantId, UUID]
) -> None:
    """On a database that sees everybody, each still answers for its own tenant alone."""
    mine, theirs = JobId(seeded[tenant.id]), JobId(seeded[other_tenant.id])
    async with reading(fleet, None) as session:
        for listed in (
            [job.id for job in (await queries.list_jobs(session, tenant.id, JobFilter(), before=None, limit=9)).items],
            await queries.list_ids(session, tenant.id, JobFilter(), before=None, limit=9),
        ):
            assert listed == [mine]
        assert isinstance(await queries.why_missing(session, tenant.id, theirs), NotFound)
        assert isinstance(await queries.why_missing(session, tenant.id, mine), Gone)
    async with hot_transaction(fleet, None) as connection:
        assert await queries.get_many(connection, make_sealer(None), [JobKey(theirs, tenant.id)]) == [None]
        assert set(await store.hold(connection, tenant.id, [mine, theirs])) == {mine}
        assert await store.delete(connection, [JobKey(theirs, tenant.id)]) == 0
        cancel = Change(theirs, tenant.id, transitions.cancel())
        assert await store.apply(connection, [cancel]) == [None]
        assert await store.mark_called(connection, [Run(theirs, tenant.id, 1)]) == [False]
    assert [row.tenant_id for row in await list_keys(fleet, tenant.id)] == [tenant.id]
    with pytest.raises(NotFound):
        await revoke_key(fleet, tenant.id, other_tenant.key.split("_")[2])


async def test_whoever_logs_in_becomes_the_apps_role(shared_database: DatabaseSettings) -> None:
    """Also an owner or a superuser, whom no policy would hold."""
    as_owner = DatabaseSettings(url=SecretStr(owner_url(shared_database)), pool_size=2)
    async with await open_database(as_owner, name="api", fleet=False) as database:
        async with database.pool.acquire() as connection, database.engine.connect() as other:
            assert await connection.fetchval("SELECT current_user::text") == APP_ROLE
            assert (await other.execute(text("SELECT current_user::text"))).scalar_one() == APP_ROLE
            assert await connection.fetch("SELECT * FROM tenants") == []
        # A connection that comes back to the pool is reset, but not to its login.
        assert await database.pool.fetchval("SELECT current_user::text") == APP_ROLE
