"""One run of a job at a provider: written before the call, closed after it. Written by core/jobs/store.py only."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint
from sqlmodel import Field, SQLModel

from core.db.columns import JSON_OBJECT, TEXT, instant, one_of, optional_instant, uuid_key
from core.domain.transitions import AttemptOutcome


class AttemptRow(SQLModel, table=True):
    """`called_at` says that the call may have gone out; a run without it never cost anybody anything."""

    __tablename__ = "attempts"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "tenant_id"], ["jobs.id", "jobs.tenant_id"], ondelete="CASCADE"),
        one_of("outcome", AttemptOutcome),
        one_of("billed", ("no", "maybe", "yes")),
        CheckConstraint("(outcome = 'running') = (finished_at IS NULL)", name="closed_has_finished_at"),
    )

    job_id: UUID = uuid_key()
    tenant_id: UUID = uuid_key()
    run_no: int = Field(primary_key=True)
    attempt: int
    worker_id: str = Field(sa_type=TEXT)
    provider: str = Field(sa_type=TEXT)
    outcome: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "running"})
    started_at: datetime = instant(default_now=True)
    called_at: datetime | None = optional_instant()
    finished_at: datetime | None = optional_instant()
    error_class: str | None = Field(default=None, sa_type=TEXT)
    error_code: str | None = Field(default=None, sa_type=TEXT)
    error_message: str | None = Field(default=None, sa_type=TEXT)
    http_status: int | None = None
    retry_after: float | None = None
    wait_seconds: float | None = None
    billed: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "no"})
    usage: dict[str, Any] | None = Field(default=None, sa_type=JSON_OBJECT)
    provider_request_id: str | None = Field(default=None, sa_type=TEXT)
