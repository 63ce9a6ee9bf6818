"""Retry limits of each job, an end to snoozes, and the seal that detects a wrong master key.

Revision ID: 0004
Revises: 0003
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations import online

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    if not online.has_table("seals"):
        op.create_table(
            "seals",
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("canary", sa.LargeBinary(), nullable=False),
            sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
            sa.PrimaryKeyConstraint("name", name=op.f("pk_seals")),
        )
        # It belongs to no tenant, so it has no policy. Only the owner may change what was written once.
        op.execute("GRANT SELECT, INSERT ON seals TO inferd_app")
    # Nullable, or with a constant default: the previous release keeps inserting.
    online.add_column("jobs", sa.Column("retry_initial_seconds", sa.Float(), nullable=True))
    online.add_column("jobs", sa.Column("retry_max_seconds", sa.Float(), nullable=True))
    online.add_column("jobs", sa.Column("snoozes", sa.Integer(), server_default="0", nullable=False))
    online.add_column("jobs", sa.Column("snoozed_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for column in ("snoozed_since", "snoozes", "retry_max_seconds", "retry_initial_seconds"):
        online.drop_column("jobs", column)
    op.drop_table("seals", if_exists=True)
