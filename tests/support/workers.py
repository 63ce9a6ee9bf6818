"""Workers as rows: one that may claim without a loop that renews it, and jobs whose worker died."""

from typing import Any
from uuid import UUID

from core.runtime import WorkerRuntime

_ALIVE = """
INSERT INTO workers (id, lease_expires_at) VALUES ($1, now() + interval '1 hour')
ON CONFLICT (id) DO UPDATE SET lease_expires_at = excluded.lease_expires_at, dead_at = NULL
"""
_DEAD = "INSERT INTO workers (id, lease_expires_at, dead_at) VALUES ('dead', now(), now()) ON CONFLICT DO NOTHING"
_LOSE = "UPDATE jobs SET worker_id = 'dead' WHERE state = 'running' AND ($1::uuid IS NULL OR id = $1)"


async def enlist(runtime: WorkerRuntime, seconds: float = 3600.0) -> None:
    """Registers the runtime's worker for so long that nothing has to renew it."""
    lease = runtime.jobs.leases.worker
    lease.lease_seconds = seconds
    lease.heartbeat_seconds = max(lease.heartbeat_seconds, 10.0)
    await lease.register()


async def keep_alive(connection: Any, worker_id: str) -> None:
    """A worker of this name that lives for an hour, also when an earlier test let it die."""
    await connection.execute(_ALIVE, worker_id)


async def lose_worker(connection: Any, job_id: UUID | None = None) -> None:
    """The worker of the job is dead, or that of every running job; another one lived on. As the schema's owner."""
    await connection.execute(_DEAD)
    await connection.execute(_LOSE, job_id)
