"""Webhooks: deliveries that outlive their job, endpoints that go at once, turns between tenants.

Revision ID: 0005
Revises: 0002

A foreign key of deliveries makes the end of a job wait for whoever deletes an endpoint, and its cascade deletes what is
still to be sent. What they kept in order is done by statements: prune_gone, delete, prune_jobs and prune_deleted.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

READY = "state = 'pending' AND lease_token IS NULL"


def upgrade() -> None:
    op.drop_constraint("fk_deliveries_job_id_tenant_id", "deliveries", type_="foreignkey")
    op.drop_constraint("fk_deliveries_endpoint_id_tenant_id", "deliveries", type_="foreignkey")
    op.create_index(
        "ix_deliveries_turns",
        "deliveries",
        ["tenant_id", "target", "host", "next_attempt_at", "id"],
        unique=False,
        postgresql_where=sa.text(READY),
    )
    op.add_column("webhook_endpoints", sa.Column("unsettled_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_webhook_endpoints_unsettled",
        "webhook_endpoints",
        ["unsettled_at"],
        unique=False,
        postgresql_where=sa.text("unsettled_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_webhook_endpoints_unsettled", table_name="webhook_endpoints")
    op.drop_column("webhook_endpoints", "unsettled_at")
    op.drop_index("ix_deliveries_turns", table_name="deliveries")
    # What has outlived its job or its endpoint has no place in the older schema.
    for column, table in (("job_id", "jobs"), ("endpoint_id", "webhook_endpoints")):
        op.execute(
            f"DELETE FROM deliveries WHERE {column} IS NOT NULL AND NOT EXISTS ("  # noqa: S608 - names from above
            f"SELECT FROM {table} WHERE {table}.id = deliveries.{column} AND {table}.tenant_id = deliveries.tenant_id)"
        )
        op.create_foreign_key(
            f"fk_deliveries_{column}_tenant_id",
            "deliveries",
            table,
            [column, "tenant_id"],
            ["id", "tenant_id"],
            ondelete="CASCADE",
        )
