"""Metadata by pair, in a table of its own, so that an index serves a filter by it.

Revision ID: 0005
Revises: 0004
"""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from migrations import online

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The same as in 0001.
ONE_TENANT = "(select nullif(current_setting('app.tenant_id', true), '')::uuid)"
SOME_TENANTS = "((select nullif(current_setting('app.tenant_ids', true), ''))::uuid[])"
FLEET = "(select current_setting('app.fleet', true)) = 'on'"

# By id, so that no batch reads the rows of an earlier one, and a row that is updated meanwhile is not missed. The lock
# is the one that the foreign key takes: a job that is being deleted gets no pairs.
BATCH = """
WITH page AS (
    SELECT id FROM jobs WHERE id > $1 ORDER BY id LIMIT 1000
), last AS (
    SELECT id FROM page ORDER BY id DESC LIMIT 1
), described AS (
    SELECT id, tenant_id, meta FROM jobs
    WHERE id > $1 AND id <= (SELECT id FROM last) AND meta <> '{}'
    FOR KEY SHARE
), made AS (
    INSERT INTO job_metadata (job_id, tenant_id, key, value)
    SELECT described.id, described.tenant_id, pair.key, pair.value
    FROM described, jsonb_each_text(described.meta) AS pair
    ON CONFLICT DO NOTHING
)
SELECT id FROM last
"""


def secure(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    conditions = {
        "one_tenant": f"tenant_id = {ONE_TENANT}",
        "some_tenants": f"tenant_id = ANY ({SOME_TENANTS})",
        "fleet": FLEET,
    }
    for name, condition in conditions.items():
        op.execute(f"CREATE POLICY {name} ON {table} USING ({condition}) WITH CHECK ({condition})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO inferd_app")


def upgrade() -> None:
    if not online.has_table("job_metadata"):
        create()
    # Jobs that are inserted meanwhile get their pairs from the trigger.
    online.copy(BATCH, UUID(int=0))


def create() -> None:
    op.create_table(
        "job_metadata",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "tenant_id"], ["jobs.id", "jobs.tenant_id"], name="fk_job_metadata_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "tenant_id", "key", name="pk_job_metadata"),
    )
    op.create_index("ix_job_metadata_pair", "job_metadata", ["tenant_id", "key", "value", "job_id"])
    secure("job_metadata")
    # A trigger, so that jobs that the previous release inserts have their pairs too. It runs only for jobs with
    # metadata, as the role that inserts, under the policies.
    op.execute(
        """
        CREATE OR REPLACE FUNCTION inferd_note_metadata() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO job_metadata (job_id, tenant_id, key, value)
            SELECT NEW.id, NEW.tenant_id, pair.key, pair.value FROM jsonb_each_text(NEW.meta) AS pair;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER note_metadata AFTER INSERT ON jobs FOR EACH ROW WHEN (NEW.meta <> '{}'::jsonb)
        EXECUTE FUNCTION inferd_note_metadata()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER IF EXISTS note_metadata ON jobs")
    op.execute("DROP FUNCTION IF EXISTS inferd_note_metadata()")
    op.drop_table("job_metadata", if_exists=True)
