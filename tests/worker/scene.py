"""What a test of the worker looks at: it submits as the API does, and reads rows as their owner."""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg

from core.domain.ids import JobId
from core.domain.job_state import TERMINAL, JobState
from core.jobs.cancel import cancel_jobs
from core.jobs.records import JobRecord
from core.runtime import ApiRuntime
from tests.conformance.fake_provider import Call, FakeProvider
from tests.support.jobs import submit
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Scene:
    api: ApiRuntime
    tenant: Tenant
    owner: "asyncpg.Pool[asyncpg.Record]"
    fake: FakeProvider

    async def submit(self, model: str = "fake/ok", **changes: Any) -> JobId:
        return (await submit(self.api.jobs, self.tenant.id, model=model, **changes)).id

    async def cancel(self, job_id: JobId) -> bool:
        """Whether the job was cancelled by this."""
        return job_id in (await cancel_jobs(self.api.jobs, self.tenant.id, [job_id])).changed

    async def job(self, job_id: JobId) -> JobRecord:
        """As its caller sees it."""
        found = await self.api.jobs.group_commit.read(job_id, self.tenant.id)
        assert found is not None
        return found

    async def row(self, job_id: JobId) -> asyncpg.Record:
        """All there is to see."""
        row = await self.owner.fetchrow("SELECT * FROM jobs WHERE id = $1", job_id)
        assert row is not None
        return row

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

    async def call(self, number: int = 0) -> Call:
        """The provider's call `number`, as soon as it has arrived."""
        return await asyncio.wait_for(self.fake.call(number), 20)

    async def results(self, job_id: JobId) -> int:
        return int(await self.owner.fetchval("SELECT count(*) FROM results WHERE job_id = $1", job_id))
