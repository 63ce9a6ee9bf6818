"""Which worker does the sweep's steps now. Written by core/jobs/sweep_turns.py."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from core.db.columns import TEXT, instant


class SweepTurnRow(SQLModel, table=True):
    """One for each step: its holder, until `expires_at`."""

    __tablename__ = "sweep_turns"

    name: str = Field(sa_type=TEXT, primary_key=True)
    worker_id: str = Field(sa_type=TEXT)
    expires_at: datetime = instant()
