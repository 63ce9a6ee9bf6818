"""Shares: a tenant's own cap of slots, an index of waiting jobs by tenant, and the turns of the sweep.

Revision ID: 0007
Revises: 0006
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations import online

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    if not online.has_table("sweep_turns"):
        op.create_table(
            "sweep_turns",
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("worker_id", sa.Text(), nullable=False),
            sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
            sa.PrimaryKeyConstraint("name", name=op.f("pk_sweep_turns")),
        )
        # It belongs to no tenant.
        op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON sweep_turns TO inferd_app")
    online.add_column("tenants", sa.Column("max_slots", sa.Integer(), nullable=True))
    online.add_check("tenants", "ck_tenants_max_slots_positive", "max_slots > 0")
    online.create_index("ix_tenants_capped", "tenants", ["id"], where="max_slots IS NOT NULL")
    online.create_index("ix_jobs_waiting", "jobs", ["priority", "tenant_id", "run_at", "id"], where="state = 'queued'")


def downgrade() -> None:
    online.drop_index("ix_jobs_waiting")
    online.drop_index("ix_tenants_capped")
    online.drop_constraint("tenants", "ck_tenants_max_slots_positive")
    online.drop_column("tenants", "max_slots")
    op.drop_table("sweep_turns", if_exists=True)
