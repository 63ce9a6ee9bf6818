"""Webhooks: options of endpoints, rotation of secrets, the log of attempts, recoveries, and fair claims.

Revision ID: 0002
Revises: 0001
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TENANT_TABLES = ("delivery_attempts", "retired_webhook_secrets", "webhook_recoveries")
# The same as in 0001.
ONE_TENANT = "(select nullif(current_setting('app.tenant_id', true), '')::uuid)"
SOME_TENANTS = "((select nullif(current_setting('app.tenant_ids', true), ''))::uuid[])"
FLEET = "(select current_setting('app.fleet', true)) = 'on'"

FOLLOWS = "event_types && ARRAY['job.queued'::text, 'job.running'::text, 'job.retrying'::text]"
READY = "state = 'pending' AND lease_token IS NULL"


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


def upgrade() -> None:
    # The host of a URL that core/webhooks/egress/url_policy.py accepted: no user, no password.
    op.execute(
        """
        CREATE FUNCTION inferd_url_host(url text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
            SELECT coalesce(lower(rtrim(substring(url FROM '://(\\[[^]]*\\]|[^:/?#]*)'), '.')), '')
        $$
        """
    )
    # The body of core/domain/events.py, for the steps before a job's end, which have no result.
    op.execute(
        """
        CREATE FUNCTION inferd_job_event(
            event_id uuid, event_type text, job_id uuid, status text, model text, sequence int, more jsonb
        ) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
            SELECT convert_to(jsonb_build_object(
                'id', 'evt_' || replace(event_id::text, '-', ''),
                'object', 'event',
                'type', event_type,
                'created_at', floor(extract(epoch FROM now()))::bigint,
                'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'data', jsonb_build_object(
                    'id', 'job_' || replace(job_id::text, '-', ''),
                    'job_id', 'job_' || replace(job_id::text, '-', ''),
                    'status', status,
                    'model', model,
                    'sequence', sequence,
                    'result_url', '/v1/jobs/job_' || replace(job_id::text, '-', '')
                ) || more
            )::text, 'UTF8')
        $$
        """
    )
    extend_endpoints()
    extend_deliveries()
    create_tables()
    for table in TENANT_TABLES:
        secure(table, "tenant_id")


def extend_endpoints() -> None:
    added: tuple[sa.Column[object], ...] = (
        sa.Column("secret_hint", sa.Text(), server_default="", nullable=False),
        sa.Column("signature", sa.Text(), server_default="v1", nullable=False),
        sa.Column("include_result", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("max_per_second", sa.Float(), nullable=True),
        sa.Column("send_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("follows", sa.Boolean(), sa.Computed(FOLLOWS, persisted=True), nullable=False),
    )
    for column in added:
        op.add_column("webhook_endpoints", column)
    op.execute("UPDATE webhook_endpoints SET disabled_reason = 'caller', disabled_at = now() WHERE NOT enabled")
    checks = {
        "signature": "signature IN ('v1', 'v1a')",
        "disabled_reason": "disabled_reason IN ('caller', 'gone', 'failing')",
        "reason_is_of_disabled": "enabled <= (disabled_reason IS NULL)",
    }
    for name, condition in checks.items():
        op.create_check_constraint(op.f(f"ck_webhook_endpoints_{name}"), "webhook_endpoints", condition)
    op.create_index("ix_webhook_endpoints_list", "webhook_endpoints", ["tenant_id", "id"], unique=False)
    op.create_index(
        "ix_webhook_endpoints_following",
        "webhook_endpoints",
        ["tenant_id"],
        unique=False,
        postgresql_where=sa.text("follows"),
    )


def extend_deliveries() -> None:
    added: tuple[sa.Column[object], ...] = (
        sa.Column("host", sa.Text(), sa.Computed("inferd_url_host(url)", persisted=True), nullable=False),
        sa.Column("target", sa.Uuid(), sa.Computed("COALESCE(endpoint_id, tenant_id)", persisted=True), nullable=False),
        sa.Column("trigger", sa.Text(), server_default="scheduled", nullable=False),
        sa.Column("slots_used", sa.SmallInteger(), server_default="0", nullable=False),
    )
    for column in added:
        op.add_column("deliveries", column)
    op.execute("UPDATE deliveries SET slots_used = attempts WHERE attempts > 0")
    op.create_check_constraint(
        op.f("ck_deliveries_trigger"), "deliveries", "trigger IN ('scheduled', 'manual', 'recovery', 'test')"
    )
    op.drop_index("ix_deliveries_due", table_name="deliveries")
    op.create_index(
        "ix_deliveries_endpoint",
        "deliveries",
        ["tenant_id", "endpoint_id", "id"],
        unique=False,
        postgresql_where=sa.text("endpoint_id IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_ready",
        "deliveries",
        ["host", "target", "next_attempt_at", "id"],
        unique=False,
        postgresql_where=sa.text(READY),
    )
    op.create_index(
        "ix_deliveries_leased",
        "deliveries",
        ["host", "target"],
        unique=False,
        postgresql_where=sa.text("lease_token IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_jobless",
        "deliveries",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("job_id IS NULL"),
    )


def create_tables() -> None:
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("dns_ms", sa.Float(), nullable=True),
        sa.Column("connect_ms", sa.Float(), nullable=True),
        sa.Column("tls_ms", sa.Float(), nullable=True),
        sa.Column("first_byte_ms", sa.Float(), nullable=True),
        sa.Column("total_ms", sa.Float(), nullable=True),
        sa.Column("retry_after", sa.Float(), nullable=True),
        sa.Column("excerpt", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "trigger IN ('scheduled', 'manual', 'recovery', 'test')", name=op.f("ck_delivery_attempts_trigger")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id", "tenant_id"],
            ["deliveries.id", "deliveries.tenant_id"],
            name=op.f("fk_delivery_attempts_delivery_id_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "tenant_id", "attempt", name=op.f("pk_delivery_attempts")),
    )
    op.create_table(
        "retired_webhook_secrets",
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["endpoint_id", "tenant_id"],
            ["webhook_endpoints.id", "webhook_endpoints.tenant_id"],
            name=op.f("fk_retired_webhook_secrets_endpoint_id_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("endpoint_id", "tenant_id", "id", name=op.f("pk_retired_webhook_secrets")),
    )
    op.create_table(
        "webhook_recoveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("statuses", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("requeued", sa.Integer(), server_default="0", nullable=False),
        sa.Column("position", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'completed') = (finished_at IS NOT NULL)", name=op.f("ck_webhook_recoveries_completed_has_time")
        ),
        sa.CheckConstraint("state IN ('running', 'completed')", name=op.f("ck_webhook_recoveries_state")),
        sa.ForeignKeyConstraint(
            ["endpoint_id", "tenant_id"],
            ["webhook_endpoints.id", "webhook_endpoints.tenant_id"],
            name=op.f("fk_webhook_recoveries_endpoint_id_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", "tenant_id", name=op.f("pk_webhook_recoveries")),
    )
    op.create_index(
        "ix_webhook_recoveries_running",
        "webhook_recoveries",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'running'"),
    )


def downgrade() -> None:
    for table in reversed(TENANT_TABLES):
        op.drop_table(table)
    for index in ("jobless", "leased", "ready", "endpoint"):
        op.drop_index(f"ix_deliveries_{index}", table_name="deliveries")
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["next_attempt_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    for column in ("slots_used", "trigger", "target", "host"):
        op.drop_column("deliveries", column)
    op.drop_index("ix_webhook_endpoints_following", table_name="webhook_endpoints")
    op.drop_index("ix_webhook_endpoints_list", table_name="webhook_endpoints")
    op.drop_constraint(op.f("ck_webhook_endpoints_reason_is_of_disabled"), "webhook_endpoints")
    for column in (
        "follows",
        "updated_at",
        "failing_since",
        "failures",
        "disabled_at",
        "disabled_reason",
        "send_after",
        "max_per_second",
        "include_result",
        "signature",
        "secret_hint",
    ):
        op.drop_column("webhook_endpoints", column)
    op.execute("DROP FUNCTION inferd_job_event(uuid, text, uuid, text, text, int, jsonb)")
    op.execute("DROP FUNCTION inferd_url_host(text)")
