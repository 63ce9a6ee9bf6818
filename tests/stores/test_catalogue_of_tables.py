"""What PostgreSQL's own catalogue must say of every tenant table, also of those that come later."""

from uuid import UUID

import pytest

from core.db.engine import APP_ROLE
from core.db.tables import TENANT_TABLES
from tests.conftest import OwnerPool

TABLES = ("tenants", *TENANT_TABLES)
each_table = pytest.mark.parametrize("table", TABLES)


async def test_every_table_is_a_tenants_or_says_nothing_of_tenants(owner: OwnerPool) -> None:
    found = await owner.fetch(
        "SELECT DISTINCT table_name::text AS name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'tenant_id'"
    )
    every = await owner.fetch("SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'public'")

    assert sorted(row["name"] for row in found) == sorted(TENANT_TABLES)
    others = {"tenants", "workers", "seals", "sweep_turns", "alembic_version"}
    assert {row["name"] for row in every} - set(TENANT_TABLES) == others
    assert await owner.fetchval("SELECT count(*) FROM pg_views WHERE schemaname = 'public'") == 0


@each_table
async def test_security_is_enabled_and_forced(owner: OwnerPool, table: str) -> None:
    row = await owner.fetchrow(
        "SELECT relrowsecurity, relforcerowsecurity, relowner::regrole::text AS owner FROM pg_class"
        " WHERE oid = $1::text::regclass",
        table,
    )

    assert row is not None
    assert (row["relrowsecurity"], row["relforcerowsecurity"]) == (True, True)
    assert row["owner"] != APP_ROLE


@each_table
async def test_every_policy_looks_at_a_setting_once_a_query(owner: OwnerPool, table: str) -> None:
    policies = await owner.fetch(
        "SELECT polname::text AS name, polcmd::text AS command, polpermissive AS permissive,"
        " pg_get_expr(polqual, polrelid) AS using, pg_get_expr(polwithcheck, polrelid) AS checked"
        " FROM pg_policy WHERE polrelid = $1::text::regclass",
        table,
    )
    names = {row["name"] for row in policies}

    assert names == {"one_tenant", "some_tenants", "fleet"} | ({"presented_key"} if table == "api_keys" else set())
    for row in policies:
        # In a sub-select: the setting is read once for a query instead of once for a row.
        assert "( SELECT " in row["using"]
        assert "current_setting('app." in row["using"]
        if row["name"] == "presented_key":
            assert (row["command"], row["checked"]) == ("r", None)
        else:
            assert (row["command"], row["checked"]) == ("*", row["using"])
        if row["name"] != "fleet":
            assert "NULLIF(" in row["using"]


async def test_the_apps_role_has_no_more_rights_than_rows_need(owner: OwnerPool) -> None:
    role = await owner.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", APP_ROLE)
    assert role is not None
    assert not any(
        role[right] for right in ("rolsuper", "rolbypassrls", "rolcreatedb", "rolcreaterole", "rolreplication")
    )

    grants = await owner.fetch(
        "SELECT table_name::text AS name, privilege_type::text AS right FROM information_schema.table_privileges"
        " WHERE grantee = $1 AND table_schema = 'public'",
        APP_ROLE,
    )
    found: dict[str, set[str]] = {}
    for row in grants:
        found.setdefault(row["name"], set()).add(row["right"])
    rows = {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert found == {
        **dict.fromkeys((*TABLES, "workers", "sweep_turns"), rows),
        "alembic_version": {"SELECT"},
        "seals": {"SELECT", "INSERT"},
    }
    assert await owner.fetchval("SELECT count(*) FROM pg_auth_members WHERE member = $1::regrole", APP_ROLE) == 0


async def test_every_reference_to_a_tenants_row_names_the_tenant(owner: OwnerPool) -> None:
    references = await owner.fetch(
        """
        SELECT conname::text AS name, confrelid::regclass::text AS target,
            array(SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)) AS columns
        FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace
        """
    )

    assert references
    for row in references:
        assert "tenant_id" in row["columns"], row["name"]
        assert row["target"] == "tenants" or len(row["columns"]) == 2, row["name"]


async def test_no_unique_index_tells_one_tenant_of_another(owner: OwnerPool) -> None:
    """But for the random ids of keys and the operators' names of tenants; a seal is the database's."""
    indexes = await owner.fetch(
        """
        SELECT index.indexrelid::regclass::text AS name,
            array(SELECT attname::text FROM pg_attribute WHERE attrelid = index.indexrelid) AS columns
        FROM pg_index AS index JOIN pg_class AS relation ON relation.oid = index.indrelid
        WHERE index.indisunique AND relation.relnamespace = 'public'::regnamespace
        """
    )

    alone = {row["name"] for row in indexes if "tenant_id" not in row["columns"]}
    assert alone == {
        "pk_seals", "pk_sweep_turns", "pk_tenants", "pk_workers",
        "uq_tenants_name", "ix_api_keys_public_id", "alembic_version_pkc",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT id FROM jobs WHERE tenant_id = $1 AND state = 'queued' AND id < $1", "ix_jobs_list_state"),
        ("SELECT id FROM jobs WHERE tenant_id = $1 AND id < $1", "ix_jobs_list"),
        ("SELECT id FROM deliveries WHERE tenant_id = $1 AND job_id = $1", "ix_deliveries_job"),
        ("SELECT 1 FROM idempotency WHERE tenant_id = $1 AND key = 'k'", "pk_idempotency"),
    ],
    ids=lambda each: each[-20:],
)
async def test_policies_leave_the_hot_queries_their_index(owner: OwnerPool, query: str, index: str) -> None:
    """Only leakproof comparisons may use an index next to a policy: those of text and uuid are, an enum's are not."""
    table = query.partition(" FROM ")[2].split()[0]
    async with owner.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        others = (
            "SELECT indexname::text FROM pg_indexes WHERE tablename = $1 AND indexname LIKE 'ix_%' AND indexname <> $2"
        )
        for row in await connection.fetch(others, table, index):
            await connection.execute(f"DROP INDEX {row[0]}")
        await connection.execute(f"SET LOCAL ROLE {APP_ROLE}; SET LOCAL enable_seqscan = off; SET LOCAL app.fleet = ''")
        plan = await connection.fetch("EXPLAIN " + query.replace("$1", f"'{UUID(int=0)}'::uuid"))
        await transaction.rollback()

    (condition,) = [row[0] for row in plan if "Index Cond" in row[0]]
    asked = [
        word for word in ("tenant_id", "state", "job_id", "key", "id") if f" {word} " in query.partition(" WHERE")[2]
    ]
    assert f" {index} " in "\n".join(row[0] for row in plan)
    assert [word for word in asked if f"({word} " in condition] == asked
