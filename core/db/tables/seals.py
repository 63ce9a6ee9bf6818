"""A record that reveals a wrong master key before it does harm. Written once, by core/access/master_key.py."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from core.db.columns import BYTES, TEXT, instant


class SealRow(SQLModel, table=True):
    """A known text, sealed by the first process that had the key. It belongs to the database, not to a tenant."""

    __tablename__ = "seals"

    name: str = Field(sa_type=TEXT, primary_key=True)
    canary: bytes = Field(sa_type=BYTES)
    created_at: datetime = instant(default_now=True)
