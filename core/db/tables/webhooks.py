"""Webhook endpoints and deliveries: the outbox that is written with a job's last transaction."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlmodel import Field, SQLModel

from core.db.columns import BYTES, SMALL, TEXT, TEXT_LIST, instant, one_of, optional_instant, uuid_key

DELIVERY_STATES = ("pending", "delivered", "exhausted", "skipped")


class WebhookEndpointRow(SQLModel, table=True):
    """A URL that a tenant registered for some event types. `secret` is sealed."""

    __tablename__ = "webhook_endpoints"

    id: UUID = uuid_key()
    tenant_id: UUID = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE")
    name: str = Field(sa_type=TEXT)
    url: str = Field(sa_type=TEXT)
    event_types: list[str] = Field(sa_type=TEXT_LIST)
    secret: bytes = Field(sa_type=BYTES)
    enabled: bool = Field(sa_column_kwargs={"server_default": text("true")})
    created_at: datetime = instant(default_now=True)


class DeliveryRow(SQLModel, table=True):
    """One webhook to one endpoint or to a job's own URL. `body` is stored once and signed anew for each attempt."""

    __tablename__ = "deliveries"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "tenant_id"], ["jobs.id", "jobs.tenant_id"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["endpoint_id", "tenant_id"],
            ["webhook_endpoints.id", "webhook_endpoints.tenant_id"],
            name="fk_deliveries_endpoint_id_tenant_id",
            ondelete="CASCADE",
        ),
        one_of("state", DELIVERY_STATES),
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease_is_whole"),
        CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_has_time"),
        # the job's own deliveries, for its object and its routes
        Index("ix_deliveries_job", "tenant_id", "job_id"),
        # sweep: due and not in Redis
        Index("ix_deliveries_due", "next_attempt_at", "id", postgresql_where=text("state = 'pending'")),
    )

    id: UUID = uuid_key()
    tenant_id: UUID = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE")
    job_id: UUID | None = None
    endpoint_id: UUID | None = None
    event_id: UUID
    event_type: str = Field(sa_type=TEXT)
    url: str = Field(sa_type=TEXT)
    body: bytes = Field(sa_type=BYTES)
    state: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "pending"})
    attempts: int = Field(sa_type=SMALL, sa_column_kwargs={"server_default": "0"})
    created_at: datetime = instant(default_now=True)
    next_attempt_at: datetime = instant(default_now=True)
    delivered_at: datetime | None = optional_instant()
    lease_token: UUID | None = None
    lease_expires_at: datetime | None = optional_instant()
    last_status: int | None = None
    last_error: str | None = Field(default=None, sa_type=TEXT)
