"""Redis is a hint: whatever it holds, or no longer holds, jobs run once and end."""

import httpx2
import pytest

from core.queue.connect import RedisClient
from core.queue.keys import PAYLOAD, Keys, Lane
from core.settings import Settings
from tests.conftest import MakeSettings
from tests.support.processes import run_worker, serve_api
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings(worker={"sweep_seconds": 0.2})


async def _ended(client: httpx2.AsyncClient, job_id: str) -> dict[str, object]:
    async def look() -> dict[str, object] | None:
        job: dict[str, object] = (await client.get(f"/v1/jobs/{job_id}")).json()
        return job if job["status"] not in ("queued", "running") else None

    return await eventually(look, seconds=30, what="the job ends")


async def test_jobs_run_although_redis_lost_its_memory(settings: Settings, tenant: Tenant) -> None:
    async with serve_api(settings) as running, running.client(tenant) as client:
        jobs = [
            (await client.post("/v1/jobs", json={"model": "echo/echo", "input": "hi"})).json()["id"] for _ in range(3)
        ]
        redis, lane = running.runtime.redis, running.runtime.keys.lane(Lane.STANDARD)

        async def enqueued() -> bool:
            return bool(await redis.zcard(lane) == len(jobs))

        await eventually(enqueued, what="the jobs are enqueued")
        for key in [lane, running.runtime.keys.epoch, *(PAYLOAD + job for job in jobs)]:
            await redis.delete(key)
        async with run_worker(settings):
            ended = [await _ended(client, job) for job in jobs]
    assert [(job["status"], job["attempts_used"]) for job in ended] == [("succeeded", 1)] * 3


async def test_what_is_no_job_of_ours_harms_nobody(settings: Settings, tenant: Tenant) -> None:
    async with serve_api(settings) as running, running.client(tenant) as client:
        redis, keys = running.runtime.redis, Keys(settings.redis.prefix)
        unknown = "job_" + "0" * 32
        for member in ("not-an-id", unknown):
            await redis.zadd(keys.lane(Lane.STANDARD), {member: 0})
        await redis.set(PAYLOAD + unknown, b"\x80\x04 a pickle")
        job = (await client.post("/v1/jobs", json={"model": "echo/echo", "input": "hi"})).json()["id"]
        # The same job in another lane too: enqueued twice, it runs once.
        await redis.zadd(keys.lane(Lane.BATCH), {job: 0})
        async with run_worker(settings):
            ended = await _ended(client, job)
            await eventually(lambda: _is_empty(running.runtime.redis, keys), what="the lanes are empty")
    assert (ended["status"], ended["attempts_used"]) == ("succeeded", 1)


async def _is_empty(redis: RedisClient, keys: Keys) -> bool:
    return not any([await redis.zcard(keys.lane(lane)) for lane in Lane])
