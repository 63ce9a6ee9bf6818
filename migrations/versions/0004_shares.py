"""Shares: a tenant's own cap of slots, the jobs that wait by tenant, and whose turn it is to sweep.

Revision ID: 0004
Revises: 0002
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("max_slots", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_tenants_max_slots_positive"), "tenants", "max_slots > 0")
    op.create_index("ix_tenants_capped", "tenants", ["id"], postgresql_where=sa.text("max_slots IS NOT NULL"))
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["priority", "tenant_id", "run_at", "id"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "sweep_turns",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sweep_turns")),
    )
    # Holds nothing of any tenant.
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON sweep_turns TO inferd_app")


def downgrade() -> None:
    op.drop_table("sweep_turns")
    op.drop_index("ix_jobs_waiting", table_name="jobs")
    op.drop_index("ix_tenants_capped", table_name="tenants")
    op.drop_constraint(op.f("ck_tenants_max_slots_positive"), "tenants")
    op.drop_column("tenants", "max_slots")
