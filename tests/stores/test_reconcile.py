"""PostgreSQL is the truth and Redis a hint: whatever stands in Redis, or nothing, what is due is enqueued again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from redis.exceptions import RedisError

from core.domain.ids import DeliveryId, JobId
from core.domain.job_state import Priority
from core.jobs import reconcile
from core.jobs.cancel import cancel_jobs
from core.jobs.reconcile import Reconciler
from core.queue.claims import open_claims
from core.queue.connect import connect
from core.queue.enqueue import open_enqueuer
from core.queue.keys import IN_PROGRESS, Lane, delivery_member, job_member
from core.runtime import ApiRuntime, WorkerRuntime
from core.settings import RedisSettings
from tests.conftest import OwnerPool
from tests.support import jobs
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


@pytest.fixture
async def reconciler(worker_runtime: WorkerRuntime) -> Reconciler:
    """Of a Redis that has its memory."""
    await worker_runtime.jobs.enqueuer.mark_epoch()
    return Reconciler(worker_runtime.jobs)


async def members(worker: WorkerRuntime, lane: Lane = Lane.STANDARD) -> set[str]:
    return {member.decode() for member in await worker.redis.zrange(worker.keys.lane(lane), 0, -1)}


async def submit(api: ApiRuntime, worker: WorkerRuntime, tenant: Tenant, count: int = 1, **changes: Any) -> list[JobId]:
    """Jobs that have been enqueued."""
    made = [(await jobs.submit(api.jobs, tenant.id, **changes)).id for _ in range(count)]
    lane = Lane(str(changes.get("priority", "standard")))

    async def all_enqueued() -> bool:
        return {job_member(job_id) for job_id in made} <= await members(worker, lane)

    await eventually(all_enqueued, what="the submits are enqueued")
    return made


async def forget(worker: WorkerRuntime, *job_ids: JobId, lane: Lane = Lane.STANDARD) -> None:
    await worker.redis.zrem(worker.keys.lane(lane), *(job_member(job_id) for job_id in job_ids))


def shown(job_ids: Sequence[JobId]) -> set[str]:
    return {job_member(job_id) for job_id in job_ids}


async def test_what_redis_knows_is_not_enqueued_again(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, reconciler: Reconciler
) -> None:
    await submit(api_runtime, worker_runtime, tenant, 3)

    assert await reconciler.reconcile() == 0


@pytest.mark.parametrize("priority", Priority, ids=lambda each: each.value)
async def test_what_redis_forgot_is_enqueued_in_its_lane(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, reconciler: Reconciler, priority: Priority
) -> None:
    made = await submit(api_runtime, worker_runtime, tenant, 3, priority=priority)
    lane = Lane(priority.value)
    await forget(worker_runtime, *made[:2], lane=lane)

    assert await reconciler.reconcile() == 2
    assert await members(worker_runtime, lane) == shown(made)
    assert await reconciler.reconcile() == 0


async def test_only_what_is_due_and_queued_is_enqueued(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, reconciler: Reconciler
) -> None:
    (later,) = await submit(api_runtime, worker_runtime, tenant, run_at=datetime.now(UTC) + timedelta(hours=1))
    running, cancelled = await submit(api_runtime, worker_runtime, tenant, 2)
    await worker_runtime.jobs.group_commit.claim(running)
    await cancel_jobs(api_runtime.jobs, tenant.id, [cancelled])
    await forget(worker_runtime, later, running, cancelled)

    assert await reconciler.reconcile() == 0


async def test_webhooks_that_are_due_are_enqueued_too(
    worker_runtime: WorkerRuntime, tenant: Tenant, reconciler: Reconciler, owner: OwnerPool
) -> None:
    add = (
        "INSERT INTO deliveries (id, tenant_id, event_id, event_type, url, body, next_attempt_at)"
        " VALUES (inferd_uuid7(), $1, inferd_uuid7(), 'job.failed', 'https://example.com/', '', now() + $2) RETURNING id"
    )
    due: UUID = await owner.fetchval(add, tenant.id, timedelta(0))
    await owner.fetchval(add, tenant.id, timedelta(hours=1))

    assert await reconciler.reconcile() == 1
    assert await members(worker_runtime, Lane.DELIVERIES) == {delivery_member(DeliveryId(due))}
    assert await reconciler.reconcile() == 0


@pytest.mark.parametrize("windows", [1, 2, 10])
async def test_a_backlog_is_compared_window_by_window_and_then_from_the_start(
    api_runtime: ApiRuntime,
    worker_runtime: WorkerRuntime,
    tenant: Tenant,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    windows: int,
) -> None:
    made = await submit(api_runtime, worker_runtime, tenant, 11)
    await forget(worker_runtime, *made)
    monkeypatch.setattr(reconcile, "_WINDOW", 3)
    for heads in ("_HEADS", "_HEADS_OF_ONE"):
        monkeypatch.setattr(reconcile, heads, 0)
    monkeypatch.setattr(reconcile, "_WINDOWS_A_SWEEP", windows)

    enqueued = [await reconciler.reconcile() for _ in range(4)]

    assert sum(enqueued) == 11
    assert max(enqueued) == min(3 * windows, 11)
    assert await members(worker_runtime) == shown(made)
    # Round again: what is forgotten behind its back is found at the next pass.
    await forget(worker_runtime, made[0])
    assert sum([await reconciler.reconcile() for _ in range(5)]) == 1


async def test_a_redis_that_lost_its_memory_gets_the_whole_backlog_at_once(
    api_runtime: ApiRuntime,
    worker_runtime: WorkerRuntime,
    tenant: Tenant,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await submit(api_runtime, worker_runtime, tenant, 11)
    await forget(worker_runtime, *made)
    await worker_runtime.redis.delete(worker_runtime.keys.epoch)
    monkeypatch.setattr(reconcile, "_WINDOW", 3)
    for heads in ("_HEADS", "_HEADS_OF_ONE"):
        monkeypatch.setattr(reconcile, heads, 0)
    monkeypatch.setattr(reconcile, "_WINDOWS_A_SWEEP", 1)

    assert await reconciler.reconcile() == 11
    assert await members(worker_runtime) == shown(made)
    assert await worker_runtime.redis.exists(worker_runtime.keys.epoch)


async def test_a_job_that_redis_put_off_is_enqueued_again(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, reconciler: Reconciler
) -> None:
    """A score that says 'next year' for a job that is due would otherwise hide it for a year."""
    (job_id,) = await submit(api_runtime, worker_runtime, tenant)
    lane = worker_runtime.keys.lane(Lane.STANDARD)
    await worker_runtime.redis.zadd(lane, {job_member(job_id): 1e15})

    assert await reconciler.reconcile() == 1
    assert await worker_runtime.redis.zscore(lane, job_member(job_id)) < 1e14


async def test_a_job_that_nobody_holds_in_truth_is_claimed_again(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant
) -> None:
    """A holder's key without an end would otherwise hold the job for ever."""
    (job_id,) = await submit(api_runtime, worker_runtime, tenant)
    lane, member = worker_runtime.keys.lane(Lane.STANDARD), job_member(job_id)
    await worker_runtime.redis.set(f"{IN_PROGRESS}{member}", "somebody")
    claims = open_claims(worker_runtime.redis, worker_runtime.keys, [Lane.STANDARD], lease_seconds=0.02)

    async def claimed() -> str | None:
        await worker_runtime.redis.zadd(lane, {member: 0})
        acquired = (await claims.claim([1])).acquired
        return acquired[0].member if acquired else None

    assert await claimed() is None
    assert await eventually(claimed) == member


async def test_without_redis_it_says_so(worker_runtime: WorkerRuntime) -> None:
    nowhere = connect(RedisSettings.model_validate({"url": "redis://127.0.0.1:1/0"}))
    enqueuer = open_enqueuer(nowhere, worker_runtime.keys, 1.0)

    with pytest.raises((RedisError, OSError)):
        await Reconciler(replace(worker_runtime.jobs, enqueuer=enqueuer)).reconcile()
    await nowhere.aclose(close_connection_pool=True)
