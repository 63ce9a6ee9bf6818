"""The worker processes and their leases. Written by core/jobs/worker_lease.py and core/jobs/sweep.py only."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from core.db.columns import TEXT, instant, optional_instant


class WorkerRow(SQLModel, table=True):
    """One process that runs jobs. Its lease covers every job that names it.

    `steady_since` is when the present series of renewals began, without a gap that a stall of PostgreSQL would leave;
    `dead_at` is set once and never cleared; `lost_alone` says that no other worker lived through the time of the death.
    No column that a renewal writes has an index, so that a renewal is a HOT update.
    """

    __tablename__ = "workers"
    __table_args__ = {"postgresql_with": {"fillfactor": 50}}

    id: str = Field(primary_key=True, sa_type=TEXT)
    slots: int = Field(sa_column_kwargs={"server_default": "0"})
    version: str = Field(sa_type=TEXT, sa_column_kwargs={"server_default": ""})
    started_at: datetime = instant(default_now=True)
    renewed_at: datetime = instant(default_now=True)
    steady_since: datetime = instant(default_now=True)
    lease_expires_at: datetime = instant()
    dead_at: datetime | None = optional_instant()
    lost_alone: bool = Field(sa_column_kwargs={"server_default": "false"})
