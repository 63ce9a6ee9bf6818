"""A lease for each worker instead of one for each job.

Revision ID: 0003
Revises: 0002
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations import online

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FLEET = "(select current_setting('app.fleet', true)) = 'on'"


def upgrade() -> None:
    if not online.has_table("workers"):
        op.create_table(
            "workers",
            sa.Column("id", sa.Text(), nullable=False),
            sa.Column("slots", sa.Integer(), server_default="0", nullable=False),
            sa.Column("version", sa.Text(), server_default="", nullable=False),
            sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
            sa.Column("renewed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
            sa.Column("steady_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
            sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
            sa.Column("dead_at", sa.DateTime(timezone=True), nullable=True),
            sa.Column("lost_alone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
            sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
            postgresql_with={"fillfactor": 50},
        )
        # It belongs to no tenant, so only fleet connections see it.
        op.execute("ALTER TABLE workers ENABLE ROW LEVEL SECURITY")
        op.execute("ALTER TABLE workers FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY fleet ON workers USING ({FLEET}) WITH CHECK ({FLEET})")
        op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON workers TO inferd_app")
    online.create_index("ix_jobs_worker", "jobs", ["worker_id"], where="state = 'running'")
    # The previous release satisfies both: it sets token, lease and worker.
    online.add_check(
        "jobs",
        "ck_jobs_running_has_worker",
        "(state = 'running') = (lease_token IS NOT NULL AND worker_id IS NOT NULL)",
    )
    online.drop_constraint("jobs", "ck_jobs_running_has_lease")


def downgrade() -> None:
    # Jobs under a worker's lease have none of their own, so the previous release rescues them at once.
    online.backfill("jobs", "lease_expires_at = now()", "state = 'running' AND lease_expires_at IS NULL")
    online.add_check(
        "jobs",
        "ck_jobs_running_has_lease",
        "(state = 'running') = (lease_token IS NOT NULL AND lease_expires_at IS NOT NULL)",
    )
    online.drop_constraint("jobs", "ck_jobs_running_has_worker")
    online.drop_index("ix_jobs_worker")
    op.drop_table("workers", if_exists=True)
