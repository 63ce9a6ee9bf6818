"""Whoever enqueues a job says whose it is: the submit, the retry by hand, and the sweep that found it missing."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import httpx2
import orjson

from core.db.grouping import Failed
from core.jobs.reconcile import Reconciler
from core.jobs.records import Inserted, KeyHeld, NewJob
from core.queue.keys import PAYLOAD, Lane
from core.runtime import ApiRuntime, WorkerRuntime
from core.settings import Settings
from tests.support.jobs import submit
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


async def flow_of(runtime: WorkerRuntime, member: str) -> str:
    """Of the payload that is there, or comes."""
    body = await eventually(lambda: runtime.redis.get(PAYLOAD + member))
    return str(orjson.loads(body)["flow"])


async def test_a_job_is_enqueued_although_who_submitted_it_went_away(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant
) -> None:
    inserts = api_runtime.jobs.group_commit._inserts
    commit, going = inserts.statement, asyncio.Event()

    async def told(rows: Sequence[NewJob]) -> Sequence[Inserted | KeyHeld | Failed]:
        going.set()
        return await commit(rows)

    inserts.statement = told
    try:
        submitting = asyncio.create_task(submit(api_runtime.jobs, tenant.id))
        await going.wait()
        submitting.cancel()
        with suppress(asyncio.CancelledError):
            await submitting
    finally:
        inserts.statement = commit
    assert submitting.cancelled()

    async def enqueued() -> list[bytes] | None:
        members: list[bytes] = await worker_runtime.redis.zrange(worker_runtime.keys.lane(Lane.STANDARD), 0, -1)
        return members or None

    (member,) = await eventually(enqueued)
    assert await flow_of(worker_runtime, member.decode()) == tenant.id.hex


async def test_a_job_is_always_enqueued_in_its_tenants_flow(
    api: httpx2.AsyncClient, worker_runtime: WorkerRuntime, settings: Settings, tenant: Tenant
) -> None:
    job = (await api.post("/v1/jobs", json={"model": "echo/echo", "input": "hi"})).json()["id"]
    assert await flow_of(worker_runtime, job) == tenant.id.hex

    await api.post(f"/v1/jobs/{job}/cancel")
    await worker_runtime.redis.delete(PAYLOAD + job)
    await api.post(f"/v1/jobs/{job}/retry")
    assert await flow_of(worker_runtime, job) == tenant.id.hex

    await worker_runtime.redis.delete(PAYLOAD + job, f"{settings.redis.prefix}:queue:standard")
    assert await Reconciler(worker_runtime.jobs).reconcile() == 1
    assert await flow_of(worker_runtime, job) == tenant.id.hex
