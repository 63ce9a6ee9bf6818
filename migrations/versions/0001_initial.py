"""The tables, the role of the application, and row-level security on every tenant table.

Revision ID: 0001
Revises:
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


TENANT_TABLES = (
    "api_keys",
    "attempts",
    "deleted_jobs",
    "deliveries",
    "idempotency",
    "jobs",
    "results",
    "webhook_endpoints",
)
# The sub-select makes PostgreSQL read the setting once for a query instead of once for a row. NULLIF, because a setting
# that was set once is '' afterwards, not NULL.
ONE_TENANT = "(select nullif(current_setting('app.tenant_id', true), '')::uuid)"
SOME_TENANTS = "((select nullif(current_setting('app.tenant_ids', true), ''))::uuid[])"
FLEET = "(select current_setting('app.fleet', true)) = 'on'"


def secure(table: str, column: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    conditions = {
        "one_tenant": f"{column} = {ONE_TENANT}",
        "some_tenants": f"{column} = ANY ({SOME_TENANTS})",
        "fleet": FLEET,
    }
    for name, condition in conditions.items():
        op.execute(f"CREATE POLICY {name} ON {table} USING ({condition}) WITH CHECK ({condition})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO inferd_app")


def create_role() -> None:
    # LOGIN without a password: it can be used by SET ROLE, by trust, or after an operator sets a password.
    op.execute(
        """
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'inferd_app') THEN
                CREATE ROLE inferd_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
            END IF;
            IF NOT pg_has_role(current_user, 'inferd_app', 'MEMBER') THEN
                EXECUTE format('GRANT inferd_app TO %I', current_user);
            END IF;
        END $$
        """
    )
    op.execute("GRANT USAGE ON SCHEMA public TO inferd_app")
    op.execute("GRANT SELECT ON alembic_version TO inferd_app")


def upgrade() -> None:
    create_tables()
    create_role()
    secure("tenants", "id")
    for table in TENANT_TABLES:
        secure(table, "tenant_id")
    # RFC 9562: 48 bits of milliseconds replace the start of a version 4, and the version bits become 7.
    op.execute(
        """
        CREATE FUNCTION inferd_uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
            SELECT encode(set_bit(set_bit(overlay(
                uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
        $$
        """
    )
    # A key is looked up before its tenant is known: by the public id in the request, and nothing else.
    op.execute(
        "CREATE POLICY presented_key ON api_keys FOR SELECT"
        " USING (public_id = (select nullif(current_setting('app.key_id', true), '')))"
    )


def create_tables() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("webhook_secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_public_id", "api_keys", ["public_id"], unique=True)
    op.create_table(
        "deleted_jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_deleted_jobs_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", "tenant_id", name=op.f("pk_deleted_jobs")),
    )
    op.create_index("ix_deleted_jobs_deleted_at", "deleted_jobs", ["deleted_at"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_idempotency_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("meta", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queue_ms", sa.Integer(), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timeout_seconds", sa.Float(), nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("attempts_used", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("run_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker_losses", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_events", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'failed') <= (error_code IS NOT NULL)", name=op.f("ck_jobs_failed_has_error")),
        sa.CheckConstraint(
            "(state = 'running') = (lease_token IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_jobs_running_has_lease"),
        ),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled', 'expired')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_terminal_has_finished_at"),
        ),
        sa.CheckConstraint("priority IN ('interactive', 'standard', 'batch')", name=op.f("ck_jobs_priority")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')", name=op.f("ck_jobs_state")
        ),
        sa.CheckConstraint("attempts_used >= 0 AND attempts_used <= run_no", name=op.f("ck_jobs_attempts_within_runs")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_jobs_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", "tenant_id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_deadline",
        "jobs",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running') AND deadline_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_due", "jobs", ["priority", "run_at", "id"], unique=False, postgresql_where=sa.text("state = 'queued'")
    )
    op.create_index(
        "ix_jobs_finished",
        "jobs",
        ["state", "finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_lease", "jobs", ["lease_expires_at"], unique=False, postgresql_where=sa.text("state = 'running'")
    )
    op.create_index("ix_jobs_list", "jobs", ["tenant_id", "id"], unique=False)
    op.create_index("ix_jobs_list_state", "jobs", ["tenant_id", "state", "id"], unique=False)
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_webhook_endpoints_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", "tenant_id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_no", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), server_default="running", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("called_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("retry_after", sa.Float(), nullable=True),
        sa.Column("wait_seconds", sa.Float(), nullable=True),
        sa.Column("billed", sa.Text(), server_default="no", nullable=False),
        sa.Column("usage", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("provider_request_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(outcome = 'running') = (finished_at IS NULL)", name=op.f("ck_attempts_closed_has_finished_at")
        ),
        sa.CheckConstraint("billed IN ('no', 'maybe', 'yes')", name=op.f("ck_attempts_billed")),
        sa.CheckConstraint(
            "outcome IN ('running', 'succeeded', 'retried', 'snoozed', 'failed', 'cancelled', 'expired', 'unknown')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["job_id", "tenant_id"],
            ["jobs.id", "jobs.tenant_id"],
            name=op.f("fk_attempts_job_id_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "tenant_id", "run_no", name=op.f("pk_attempts")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'delivered') = (delivered_at IS NOT NULL)", name=op.f("ck_deliveries_delivered_has_time")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'exhausted', 'skipped')", name=op.f("ck_deliveries_state")
        ),
        sa.CheckConstraint(
            "(lease_token IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_deliveries_lease_is_whole")
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id", "tenant_id"],
            ["webhook_endpoints.id", "webhook_endpoints.tenant_id"],
            name="fk_deliveries_endpoint_id_tenant_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["job_id", "tenant_id"],
            ["jobs.id", "jobs.tenant_id"],
            name=op.f("fk_deliveries_job_id_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_deliveries_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", "tenant_id", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["next_attempt_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_deliveries_job", "deliveries", ["tenant_id", "job_id"], unique=False)
    op.create_table(
        "results",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_no", sa.Integer(), nullable=False),
        sa.Column("output", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "tenant_id"],
            ["jobs.id", "jobs.tenant_id"],
            name=op.f("fk_results_job_id_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "tenant_id", name=op.f("pk_results")),
    )


def downgrade() -> None:
    # Children first. The role stays: other databases of the cluster may use it.
    for table in ("deliveries", "webhook_endpoints", "results", "attempts", "idempotency", "deleted_jobs", "jobs"):
        op.drop_table(table)
    op.drop_table("api_keys")
    op.drop_table("tenants")
    op.execute("DROP FUNCTION inferd_uuid7()")
