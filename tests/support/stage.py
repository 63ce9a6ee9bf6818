"""The stage that tests of core and of the worker act on: an API without HTTP, a tenant, and the rows as their owner sees them.

What else a test needs is added where it is used: GuardStage and FaultStage (tests/proofs), WorkerStage (tests/worker).
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from core.domain.ids import JobId
from core.domain.job_state import TERMINAL, JobState
from core.jobs.cancel import cancel_jobs
from core.jobs.records import JobRecord
from core.runtime import ApiRuntime
from tests.support.jobs import submit
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Stage:
    """`owner` is the database's owner, who sees every tenant's rows and may change them behind the product's back."""

    api: ApiRuntime
    tenant: Tenant
    owner: "asyncpg.Pool[asyncpg.Record]"

    async def submit(self, **changes: Any) -> JobId:
        return (await submit(self.api.jobs, self.tenant.id, **changes)).id

    async def cancel(self, job_id: JobId) -> bool:
        """Whether this cancelled the job."""
        return job_id in (await cancel_jobs(self.api.jobs, self.tenant.id, [job_id])).changed

    async def job(self, job_id: JobId) -> JobRecord:
        """As its caller reads it."""
        found = await self.api.jobs.group_commit.read(job_id, self.tenant.id)
        assert found is not None
        return found

    async def row(self, job_id: UUID) -> asyncpg.Record:
        """Every column."""
        row = await self.owner.fetchrow("SELECT * FROM jobs WHERE id = $1", job_id)
        assert row is not None
        return row

    async def attempts(self, job_id: UUID) -> list[asyncpg.Record]:
        return await self.owner.fetch("SELECT * FROM attempts WHERE job_id = $1 ORDER BY run_no", job_id)

    async def results(self, job_id: UUID) -> int:
        return int(await self.owner.fetchval("SELECT count(*) FROM results WHERE job_id = $1", job_id))

    async def set(self, job_id: UUID, change: str) -> None:
        """Changes the row behind the product's back: `set(job_id, "deadline_at = now()")`."""
        await self.owner.execute(f"UPDATE jobs SET {change} WHERE id = $1", job_id)

    async def ended(self, job_id: JobId, *, seconds: float = 20) -> JobRecord:
        async def found() -> JobRecord | None:
            job = await self.job(job_id)
            return job if job.state in TERMINAL else None

        return await eventually(found, seconds=seconds, what="the job ends")

    async def all_ended(self, job_ids: list[JobId], *, seconds: float = 20) -> list[JobRecord]:
        return [await self.ended(job_id, seconds=seconds) for job_id in job_ids]

    async def in_state(self, job_id: JobId, state: JobState, run_no: int = 1) -> asyncpg.Record:
        async def found() -> asyncpg.Record | None:
            row = await self.row(job_id)
            return row if (row["state"], row["run_no"]) == (state, run_no) else None

        return await eventually(found, what=f"the job is {state} in run {run_no}")
