"""Who may call: tenants and their API keys. Read by core/access."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from core.db.columns import BYTES, TEXT, instant, optional_instant, uuid_key


class TenantRow(SQLModel, table=True):
    """An organisation. `webhook_secret` signs the deliveries to per-job URLs; it is sealed (core/db/sealed.py).

    `max_slots` is how many worker slots it may use at once; None: its share (core/queue/fleet.py).
    """

    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint("max_slots > 0", name="max_slots_positive"),
        # workers, every few seconds: who has a cap of its own
        Index("ix_tenants_capped", "id", postgresql_where=text("max_slots IS NOT NULL")),
    )

    id: UUID = uuid_key()
    name: str = Field(sa_type=TEXT, unique=True)
    webhook_secret: bytes = Field(sa_type=BYTES)
    max_slots: int | None = None
    created_at: datetime = instant(default_now=True)


class ApiKeyRow(SQLModel, table=True):
    """A key's SHA-256. The public part is the id: what logs and lists show, and what the look-up goes by."""

    __tablename__ = "api_keys"
    __table_args__ = (
        # authenticate: by the public id alone, before the tenant is known
        Index("ix_api_keys_public_id", "public_id", unique=True),
    )

    tenant_id: UUID = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE")
    id: UUID = uuid_key()
    public_id: str = Field(sa_type=TEXT)
    secret_hash: bytes = Field(sa_type=BYTES)
    name: str = Field(sa_type=TEXT)
    created_at: datetime = instant(default_now=True)
    last_used_at: datetime | None = optional_instant()
    expires_at: datetime | None = optional_instant()
    revoked_at: datetime | None = optional_instant()
