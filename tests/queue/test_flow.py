"""Whoever rings for a job says whose it is: the submit, the retry by hand, and the sweep that found it missing."""

import httpx2
import orjson

from core.jobs.reconcile import Reconciler
from core.queue.keys import PAYLOAD
from core.runtime import WorkerRuntime
from core.settings import Settings
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


async def flow_of(runtime: WorkerRuntime, member: str) -> str:
    """Of the payload that is there, or comes."""
    body = await eventually(lambda: runtime.redis.get(PAYLOAD + member))
    return str(orjson.loads(body)["flow"])


async def test_a_job_is_always_rung_in_its_tenants_flow(
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
