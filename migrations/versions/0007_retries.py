"""Retry limits of each job, snoozes that end, and the seal that tells a wrong master key.

Revision ID: 0007
Revises: 0002
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Nullable, or with a constant default: no row is rewritten, and the release before this one may go on inserting.
    op.add_column("jobs", sa.Column("retry_initial_seconds", sa.Float(), nullable=True))
    op.add_column("jobs", sa.Column("retry_max_seconds", sa.Float(), nullable=True))
    op.add_column("jobs", sa.Column("snoozes", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("snoozed_since", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "seals",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("canary", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_seals")),
    )
    # No tenant's row, so no policy; and what was written once is changed by nobody but the owner.
    op.execute("GRANT SELECT, INSERT ON seals TO inferd_app")


def downgrade() -> None:
    op.drop_table("seals")
    for column in ("snoozed_since", "snoozes", "retry_max_seconds", "retry_initial_seconds"):
        op.drop_column("jobs", column)
