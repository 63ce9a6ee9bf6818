"""Webhook endpoints, deliveries (the outbox that is written with a job's last transaction), and the log of attempts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Float, ForeignKeyConstraint, Index, text
from sqlmodel import Field, SQLModel

from core.db.columns import BYTES, SMALL, TEXT, TEXT_LIST, instant, one_of, optional_instant, uuid_key
from core.domain.events import PROGRESS_EVENT_TYPES

DELIVERY_STATES = ("pending", "delivered", "exhausted", "skipped")
DELIVERY_TRIGGERS = ("scheduled", "manual", "recovery", "test")
DISABLED_REASONS = ("caller", "gone", "failing")
SIGNATURES = ("v1", "v1a")
_FOLLOWED = ", ".join(f"'{each}'::text" for each in PROGRESS_EVENT_TYPES)
_FOLLOWS = f"event_types && ARRAY[{_FOLLOWED}]"
RECOVERY_STATES = ("running", "completed")


class WebhookEndpointRow(SQLModel, table=True):
    """A URL that a tenant registered for some event types. `secret` is sealed.

    `failures` counts failed attempts since the last success; `send_after` is when the endpoint may be called again, for
    one with a rate; `follows` says that it asks for events before a job's end; `unsettled_at` is when it was disabled
    or moved, until its waiting deliveries are as it is.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        one_of("signature", SIGNATURES),
        one_of("disabled_reason", DISABLED_REASONS),
        CheckConstraint("enabled <= (disabled_reason IS NULL)", name="reason_is_of_disabled"),
        # the list of a tenant's endpoints, newest first; the recipients of an event
        Index("ix_webhook_endpoints_list", "tenant_id", "id"),
        # the recipients of events before a job's end: usually none
        Index("ix_webhook_endpoints_following", "tenant_id", postgresql_where=text("follows")),
        # settle: those whose waiting deliveries are not yet as the endpoint is
        Index("ix_webhook_endpoints_unsettled", "unsettled_at", postgresql_where=text("unsettled_at IS NOT NULL")),
    )

    id: UUID = uuid_key()
    tenant_id: UUID = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE")
    name: str = Field(sa_type=TEXT)
    url: str = Field(sa_type=TEXT)
    event_types: list[str] = Field(sa_type=TEXT_LIST)
    secret: bytes = Field(sa_type=BYTES)
    secret_hint: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": ""})
    signature: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "v1"})
    include_result: bool = Field(sa_column_kwargs={"server_default": text("false")})
    max_per_second: float | None = Field(default=None, sa_type=Float)
    send_after: datetime | None = optional_instant()
    enabled: bool = Field(sa_column_kwargs={"server_default": text("true")})
    disabled_reason: str | None = Field(default=None, sa_type=TEXT)
    disabled_at: datetime | None = optional_instant()
    failures: int = Field(sa_column_kwargs={"server_default": "0"})
    failing_since: datetime | None = optional_instant()
    unsettled_at: datetime | None = optional_instant()
    follows: bool | None = Field(default=None, nullable=False, sa_column_args=(Computed(_FOLLOWS, persisted=True),))
    created_at: datetime = instant(default_now=True)
    updated_at: datetime = instant(default_now=True)


class RetiredSecretRow(SQLModel, table=True):
    """A secret that was rotated out and still signs, until it expires. Sealed as the endpoint's own."""

    __tablename__ = "retired_webhook_secrets"
    __table_args__ = (
        ForeignKeyConstraint(
            ["endpoint_id", "tenant_id"],
            ["webhook_endpoints.id", "webhook_endpoints.tenant_id"],
            ondelete="CASCADE",
        ),
    )

    endpoint_id: UUID = uuid_key()
    tenant_id: UUID = uuid_key()
    id: UUID = uuid_key()
    secret: bytes = Field(sa_type=BYTES)
    expires_at: datetime = instant()


class DeliveryRow(SQLModel, table=True):
    """One webhook to one endpoint or to a job's own URL. `body` is stored once and signed anew for each attempt.

    `host` and `target` are what the caps on deliveries in flight count by: where it goes, and on whose behalf.
    `slots_used` counts the attempts that the schedule made; `trigger` is what makes the next one.
    No foreign key names the job or the endpoint: what is to be sent outlives its job, and a job's end must not wait for
    whoever deletes an endpoint. What is left of either goes in batches (core/jobs/prune.py,
    core/webhooks/deliveries/prune.py).
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("state", DELIVERY_STATES),
        one_of("trigger", DELIVERY_TRIGGERS),
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease_is_whole"),
        CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_has_time"),
        # the job's own deliveries, for its object and its routes
        Index("ix_deliveries_job", "tenant_id", "job_id"),
        # an endpoint's own deliveries, newest first, and their recovery
        Index(
            "ix_deliveries_endpoint",
            "tenant_id",
            "endpoint_id",
            "id",
            postgresql_where=text("endpoint_id IS NOT NULL"),
        ),
        # sweep and successors: the next one of each target that nobody sends
        Index(
            "ix_deliveries_ready",
            "host",
            "target",
            "next_attempt_at",
            "id",
            postgresql_where=text("state = 'pending' AND lease_token IS NULL"),
        ),
        # sweep, successors and settle: the same by tenants, so that they take turns
        Index(
            "ix_deliveries_turns",
            "tenant_id",
            "target",
            "host",
            "next_attempt_at",
            "id",
            postgresql_where=text("state = 'pending' AND lease_token IS NULL"),
        ),
        # claim: how many are in flight to a host; sweep: leases that ran out
        Index("ix_deliveries_leased", "host", "target", postgresql_where=text("lease_token IS NOT NULL")),
        # retention: those without a job, which go with no job
        Index("ix_deliveries_jobless", "created_at", postgresql_where=text("job_id IS NULL")),
    )

    id: UUID = uuid_key()
    tenant_id: UUID = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE")
    job_id: UUID | None = None
    endpoint_id: UUID | None = None
    event_id: UUID
    event_type: str = Field(sa_type=TEXT)
    url: str = Field(sa_type=TEXT)
    host: str = Field(sa_type=TEXT, sa_column_args=(Computed("inferd_url_host(url)", persisted=True),))
    target: UUID = Field(sa_column_args=(Computed("COALESCE(endpoint_id, tenant_id)", persisted=True),))
    body: bytes = Field(sa_type=BYTES)
    state: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "pending"})
    trigger: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "scheduled"})
    attempts: int = Field(sa_type=SMALL, sa_column_kwargs={"server_default": "0"})
    slots_used: int = Field(sa_type=SMALL, sa_column_kwargs={"server_default": "0"})
    created_at: datetime = instant(default_now=True)
    next_attempt_at: datetime = instant(default_now=True)
    delivered_at: datetime | None = optional_instant()
    lease_token: UUID | None = None
    lease_expires_at: datetime | None = optional_instant()
    last_status: int | None = None
    last_error: str | None = Field(default=None, sa_type=TEXT)


class DeliveryAttemptRow(SQLModel, table=True):
    """How one attempt went. Milliseconds are None for what did not happen or is not shown."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["delivery_id", "tenant_id"], ["deliveries.id", "deliveries.tenant_id"], ondelete="CASCADE"
        ),
        one_of("trigger", DELIVERY_TRIGGERS),
    )

    delivery_id: UUID = uuid_key()
    tenant_id: UUID = uuid_key()
    attempt: int = Field(sa_type=SMALL, primary_key=True, sa_column_kwargs={"autoincrement": False})
    trigger: str = Field(sa_type=TEXT)
    started_at: datetime = instant()
    status: int | None = None
    error: str | None = Field(default=None, sa_type=TEXT)
    dns_ms: float | None = Field(default=None, sa_type=Float)
    connect_ms: float | None = Field(default=None, sa_type=Float)
    tls_ms: float | None = Field(default=None, sa_type=Float)
    first_byte_ms: float | None = Field(default=None, sa_type=Float)
    total_ms: float | None = Field(default=None, sa_type=Float)
    retry_after: float | None = Field(default=None, sa_type=Float)
    excerpt: str | None = Field(default=None, sa_type=TEXT)
    next_attempt_at: datetime | None = optional_instant()
    worker_id: str = Field(sa_type=TEXT)


class RecoveryRow(SQLModel, table=True):
    """A range of an endpoint's deliveries that is being sent again; `position` is the last one looked at."""

    __tablename__ = "webhook_recoveries"
    __table_args__ = (
        ForeignKeyConstraint(
            ["endpoint_id", "tenant_id"],
            ["webhook_endpoints.id", "webhook_endpoints.tenant_id"],
            ondelete="CASCADE",
        ),
        one_of("state", RECOVERY_STATES),
        CheckConstraint("(state = 'completed') = (finished_at IS NOT NULL)", name="completed_has_time"),
        # the worker that goes on with it
        Index("ix_webhook_recoveries_running", "id", postgresql_where=text("state = 'running'")),
    )

    id: UUID = uuid_key()
    tenant_id: UUID = uuid_key()
    endpoint_id: UUID
    since: datetime = instant()
    until: datetime = instant()
    statuses: list[str] = Field(sa_type=TEXT_LIST)
    state: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "running"})
    total: int
    requeued: int = Field(sa_column_kwargs={"server_default": "0"})
    position: UUID | None = None
    created_at: datetime = instant(default_now=True)
    finished_at: datetime | None = optional_instant()
