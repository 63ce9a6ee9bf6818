"""Jobs, their metadata by pair, their results (apart: large, and written once), and the ids of deleted ones.

Written by core/jobs/store.py only. `request` and `output` are sealed bytes (core/db/sealed.py).
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlmodel import Field, SQLModel

from core.db.columns import BYTES, JSON_OBJECT, SMALL, TEXT, TEXT_LIST, instant, one_of, optional_instant, uuid_key
from core.domain.job_state import TERMINAL, JobState, Priority

_TERMINAL = ", ".join(f"'{state}'" for state in JobState if state in TERMINAL)


class JobRow(SQLModel, table=True):
    """What a client submitted, and where it stands.

    The key is (id, tenant_id) in this order: one index serves the caller's look-up by both and the worker's by id.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", JobState),
        one_of("priority", Priority),
        CheckConstraint(f"(state IN ({_TERMINAL})) = (finished_at IS NOT NULL)", name="terminal_has_finished_at"),
        CheckConstraint(
            "(state = 'running') = (lease_token IS NOT NULL AND worker_id IS NOT NULL)",
            name="running_has_worker",
        ),
        CheckConstraint("attempts_used >= 0 AND attempts_used <= run_no", name="attempts_within_runs"),
        CheckConstraint("(state = 'failed') <= (error_code IS NOT NULL)", name="failed_has_error"),
        # list, newest first (ids are time-sortable), alone and by state
        Index("ix_jobs_list", "tenant_id", "id"),
        Index("ix_jobs_list_state", "tenant_id", "state", "id"),
        # sweep: due and not in Redis; lane order for a rebuild
        Index("ix_jobs_due", "priority", "run_at", "id", postgresql_where=text("state = 'queued'")),
        # a worker's own runs; sweep: those of dead workers
        Index("ix_jobs_worker", "worker_id", postgresql_where=text("state = 'running'")),
        # sweep and fallback: who has jobs waiting in a lane, and which of them come first
        Index("ix_jobs_waiting", "priority", "tenant_id", "run_at", "id", postgresql_where=text("state = 'queued'")),
        # sweep: leases of the previous release, which had one for each job
        Index("ix_jobs_lease", "lease_expires_at", postgresql_where=text("state = 'running'")),
        # sweep: deadlines that passed
        Index(
            "ix_jobs_deadline",
            "deadline_at",
            postgresql_where=text("state IN ('queued', 'running') AND deadline_at IS NOT NULL"),
        ),
        # prune: oldest finished first, each state by its own age
        Index("ix_jobs_finished", "state", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    id: UUID = uuid_key()
    tenant_id: UUID = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE")
    state: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": "queued"})
    version: int = Field(sa_column_kwargs={"server_default": "1"})
    model: str = Field(sa_type=TEXT)
    request: bytes = Field(sa_type=BYTES)
    meta: dict[str, Any] = Field(sa_type=JSON_OBJECT, sa_column_kwargs={"server_default": text("'{}'")})
    priority: str = Field(sa_type=TEXT)
    request_id: str | None = Field(default=None, sa_type=TEXT)

    created_at: datetime = instant(default_now=True)
    run_at: datetime = instant()
    started_at: datetime | None = optional_instant()
    finished_at: datetime | None = optional_instant()
    queue_ms: int | None = None
    deadline_at: datetime | None = optional_instant()
    timeout_seconds: float

    max_attempts: int = Field(sa_type=SMALL)
    retry_initial_seconds: float | None = None
    retry_max_seconds: float | None = None
    attempts_used: int = Field(sa_type=SMALL, sa_column_kwargs={"server_default": "0"})
    run_no: int = Field(sa_column_kwargs={"server_default": "0"})
    worker_losses: int = Field(sa_type=SMALL, sa_column_kwargs={"server_default": "0"})
    snoozes: int = Field(sa_column_kwargs={"server_default": "0"})
    snoozed_since: datetime | None = optional_instant()

    lease_token: UUID | None = None
    lease_expires_at: datetime | None = optional_instant()
    worker_id: str | None = Field(default=None, sa_type=TEXT)

    webhook_url: str | None = Field(default=None, sa_type=TEXT)
    webhook_events: list[str] | None = Field(default=None, sa_type=TEXT_LIST)

    input_tokens: int | None = None
    output_tokens: int | None = None
    error_class: str | None = Field(default=None, sa_type=TEXT)
    error_code: str | None = Field(default=None, sa_type=TEXT)
    error_message: str | None = Field(default=None, sa_type=TEXT)


class JobMetadataRow(SQLModel, table=True):
    """One pair of a job's `meta`, where an index can find it. Written by a trigger on jobs, never changed.

    A GIN index on `meta` would be of no use: its `@>` is not leakproof, so PostgreSQL filters by tenant first.
    """

    __tablename__ = "job_metadata"
    __table_args__ = (
        ForeignKeyConstraint(["job_id", "tenant_id"], ["jobs.id", "jobs.tenant_id"], ondelete="CASCADE"),
        # list and bulk changes by metadata, newest first
        Index("ix_job_metadata_pair", "tenant_id", "key", "value", "job_id"),
    )

    job_id: UUID = uuid_key()
    tenant_id: UUID = uuid_key()
    key: str = Field(primary_key=True, sa_type=TEXT)
    value: str = Field(sa_type=TEXT)


class ResultRow(SQLModel, table=True):
    """The answer of a job that succeeded."""

    __tablename__ = "results"
    __table_args__ = (ForeignKeyConstraint(["job_id", "tenant_id"], ["jobs.id", "jobs.tenant_id"], ondelete="CASCADE"),)

    job_id: UUID = uuid_key()
    tenant_id: UUID = uuid_key()
    run_no: int
    output: bytes = Field(sa_type=BYTES)
    created_at: datetime = instant(default_now=True)


class DeletedJobRow(SQLModel, table=True):
    """That a job existed: reading it answers 410 for a while, then 404."""

    __tablename__ = "deleted_jobs"
    __table_args__ = (Index("ix_deleted_jobs_deleted_at", "deleted_at"),)

    id: UUID = uuid_key()
    tenant_id: UUID = Field(primary_key=True, foreign_key="tenants.id", ondelete="CASCADE")
    deleted_at: datetime = instant(default_now=True)
