"""Webhooks: deliveries that outlive their job, endpoints that are deleted at once, turns between tenants.

Revision ID: 0006
Revises: 0005

Drops two foreign keys of deliveries: with them the end of a job waits for the deletion of an endpoint, and the cascade
deletes pending deliveries. The statements prune_gone, delete, prune_jobs and prune_deleted delete the rows instead.
"""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from migrations import online

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

READY = "state = 'pending' AND lease_token IS NULL"
REFERENCES = {"job_id": "jobs", "endpoint_id": "webhook_endpoints"}
# Deliveries without their job or endpoint can't exist in the older schema.
WITHOUT_OWNER = """
WITH page AS (
    SELECT id, tenant_id, {column} FROM deliveries WHERE id > $1 ORDER BY id LIMIT 1000
), gone AS (
    DELETE FROM deliveries USING page
    WHERE deliveries.id = page.id AND deliveries.tenant_id = page.tenant_id AND page.{column} IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM {table} AS owner WHERE owner.id = page.{column} AND owner.tenant_id = page.tenant_id
        )
)
SELECT id FROM page ORDER BY id DESC LIMIT 1
"""


def upgrade() -> None:
    online.drop_constraint("deliveries", "fk_deliveries_job_id_tenant_id")
    online.drop_constraint("deliveries", "fk_deliveries_endpoint_id_tenant_id")
    online.create_index(
        "ix_deliveries_turns", "deliveries", ["tenant_id", "target", "host", "next_attempt_at", "id"], where=READY
    )
    online.add_column("webhook_endpoints", sa.Column("unsettled_at", sa.DateTime(timezone=True), nullable=True))
    online.create_index(
        "ix_webhook_endpoints_unsettled", "webhook_endpoints", ["unsettled_at"], where="unsettled_at IS NOT NULL"
    )


def downgrade() -> None:
    online.drop_index("ix_webhook_endpoints_unsettled")
    online.drop_column("webhook_endpoints", "unsettled_at")
    online.drop_index("ix_deliveries_turns")
    for column, table in REFERENCES.items():
        online.copy(WITHOUT_OWNER.format(column=column, table=table), UUID(int=0))
        online.add_foreign_key(
            f"fk_deliveries_{column}_tenant_id",
            "deliveries",
            [column, "tenant_id"],
            table,
            ["id", "tenant_id"],
            ondelete="CASCADE",
        )
