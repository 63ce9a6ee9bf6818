"""What an Idempotency-Key created: a job, or by `job_id` too an endpoint or a recovery. Written with its row."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from core.db.columns import BYTES, TEXT, instant


class IdempotencyRow(SQLModel, table=True):
    """`fingerprint` is the SHA-256 of the canonical body: the same key with another one is a mistake."""

    __tablename__ = "idempotency"
    __table_args__ = (
        # prune: expired keys
        Index("ix_idempotency_expires_at", "expires_at"),
    )

    tenant_id: UUID = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE")
    key: str = Field(primary_key=True, sa_type=TEXT)
    fingerprint: bytes = Field(sa_type=BYTES)
    job_id: UUID
    expires_at: datetime = instant()
