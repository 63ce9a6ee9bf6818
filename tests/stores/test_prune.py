"""Retention: what is old enough goes, and nothing else."""

import asyncio

import pytest
from structlog.testing import capture_logs

from core.jobs.prune import BATCH, prune
from core.runtime import WorkerRuntime
from core.settings import RetentionSettings
from tests.conftest import OwnerPool
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from worker.tasks import prune as loop

KEPT = RetentionSettings(succeeded_days=1, failed_days=2, deleted_days=3)

_INSERT = """
INSERT INTO jobs (id, tenant_id, state, model, request, priority, created_at, run_at, finished_at, timeout_seconds,
    max_attempts, run_no, lease_token, worker_id, error_code)
SELECT inferd_uuid7(), $1, $2, 'echo/echo', '', 'standard', now(), now(),
    CASE WHEN $2 NOT IN ('queued', 'running') THEN now() - make_interval(hours => $3) END, 10, 1, 1,
    CASE WHEN $2 = 'running' THEN gen_random_uuid() END, CASE WHEN $2 = 'running' THEN 'w' END, 'x'
FROM generate_series(1, $4) RETURNING id
"""


async def _add(owner: OwnerPool, tenant: Tenant, state: str, hours: int = 0, count: int = 1) -> set[object]:
    return {row["id"] for row in await owner.fetch(_INSERT, tenant.id, state, hours, count)}


async def _left(owner: OwnerPool, tenant: Tenant) -> set[object]:
    return {row["id"] for row in await owner.fetch("SELECT id FROM jobs WHERE tenant_id = $1", tenant.id)}


async def test_each_state_goes_at_its_own_age(worker_runtime: WorkerRuntime, owner: OwnerPool, tenant: Tenant) -> None:
    old = await _add(owner, tenant, "succeeded", 25)
    for state in ("failed", "cancelled", "expired"):
        old |= await _add(owner, tenant, state, 49)
    young = await _add(owner, tenant, "succeeded", 23)
    for state in ("failed", "cancelled", "expired"):
        young |= await _add(owner, tenant, state, 47)
    for state in ("queued", "running"):
        young |= await _add(owner, tenant, state)
    await prune(worker_runtime.jobs, KEPT)
    assert await _left(owner, tenant) == young
    gone = await owner.fetch("SELECT id FROM deleted_jobs WHERE tenant_id = $1", tenant.id)
    assert {row["id"] for row in gone} == old


async def test_a_job_stays_while_its_webhook_is_on_its_way(
    worker_runtime: WorkerRuntime, owner: OwnerPool, tenant: Tenant
) -> None:
    (job_id,) = await _add(owner, tenant, "succeeded", 48)
    await owner.execute(
        "INSERT INTO deliveries (id, tenant_id, job_id, event_id, event_type, url, body)"
        " VALUES (inferd_uuid7(), $1, $2, inferd_uuid7(), 'job.succeeded', 'https://example.com', '')",
        tenant.id,
        job_id,
    )
    await prune(worker_runtime.jobs, KEPT)
    assert await _left(owner, tenant) == {job_id}
    await owner.execute("UPDATE deliveries SET state = 'exhausted' WHERE tenant_id = $1", tenant.id)
    await prune(worker_runtime.jobs, KEPT)
    assert await _left(owner, tenant) == set()


async def test_a_backlog_goes_batch_by_batch(worker_runtime: WorkerRuntime, owner: OwnerPool, tenant: Tenant) -> None:
    await _add(owner, tenant, "succeeded", 48, BATCH + 7)
    assert await prune(worker_runtime.jobs, KEPT) == BATCH
    assert len(await _left(owner, tenant)) == 7
    assert await prune(worker_runtime.jobs, KEPT) == 7
    assert await prune(worker_runtime.jobs, KEPT) == 0


async def test_dead_keys_and_old_memories_go(worker_runtime: WorkerRuntime, owner: OwnerPool, tenant: Tenant) -> None:
    await owner.execute(
        "INSERT INTO idempotency (tenant_id, key, fingerprint, job_id, expires_at)"
        " SELECT $1, 'k' || n, '', inferd_uuid7(), now() + make_interval(mins => n) FROM generate_series(-2, 2) AS n",
        tenant.id,
    )
    await owner.execute(
        "INSERT INTO deleted_jobs (id, tenant_id, deleted_at)"
        " SELECT inferd_uuid7(), $1, now() - make_interval(days => n) FROM generate_series(1, 5) AS n",
        tenant.id,
    )
    await prune(worker_runtime.jobs, KEPT)
    keys = await owner.fetch("SELECT key FROM idempotency WHERE tenant_id = $1 ORDER BY key", tenant.id)
    assert [row["key"] for row in keys] == ["k1", "k2"]
    assert await owner.fetchval("SELECT count(*) FROM deleted_jobs WHERE tenant_id = $1", tenant.id) == 2


async def test_no_exception_ends_retention(
    worker_runtime: WorkerRuntime, owner: OwnerPool, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that is denied is none of the faults that mean "not now"."""
    monkeypatch.setattr(loop, "_PERIOD_SECONDS", 0.01)
    await owner.execute("REVOKE SELECT ON jobs FROM inferd_app")
    try:
        with capture_logs() as logs:
            pruning = asyncio.create_task(loop.prune_forever(worker_runtime))
            await eventually(lambda: logs or pruning.done())
    finally:
        await owner.execute("GRANT SELECT ON jobs TO inferd_app")
    try:
        await _add(owner, tenant, "succeeded", 24 * 365)

        async def pruned() -> bool:
            return pruning.done() or not await _left(owner, tenant)

        await eventually(pruned)
        assert not pruning.done()
        assert logs[0]["event"] == "prune_crashed"
    finally:
        pruning.cancel()
