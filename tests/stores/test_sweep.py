"""The sweep: takes back what dead workers held, ends what is too late, and any number of sweeps share the work."""

import asyncio
from typing import Any

import pytest

from core.domain import transitions
from core.domain.ids import JobId
from core.jobs import sweep
from core.jobs.finish import finish_job
from core.jobs.records import ClaimedJob, Run
from core.jobs.sweep import declare_dead, expire_jobs, rescue_jobs
from core.queue.keys import Lane, job_member
from core.runtime import ApiRuntime, WorkerRuntime
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support import jobs
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.support.workers import lose_worker

HOOK: dict[str, Any] = {"webhook_url": "https://example.com/", "webhook_events": jobs.EVERY_EVENT}


async def start(
    api: ApiRuntime, worker: WorkerRuntime, tenant: Tenant, *, called: bool = True, **changes: Any
) -> ClaimedJob:
    """A job that a worker runs; `called` says whether its call has gone out."""
    job = await jobs.submit(api.jobs, tenant.id, **changes)
    claimed = await worker.jobs.group_commit.claim(job.id)
    assert isinstance(claimed, ClaimedJob)
    if called:
        assert await worker.jobs.group_commit.mark_called(Run(job.id, tenant.id, claimed.run_no))
    return claimed


async def enqueued(worker: WorkerRuntime, job_id: JobId, lane: Lane = Lane.STANDARD) -> bool:
    return await worker.redis.zscore(worker.keys.lane(lane), job_member(job_id)) is not None


async def test_a_dead_workers_job_goes_back_to_the_queue_and_is_enqueued(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    job = await start(api_runtime, worker_runtime, tenant)
    alive = await start(api_runtime, worker_runtime, tenant)
    await worker_runtime.redis.delete(worker_runtime.keys.lane(Lane.STANDARD))
    await lose_worker(owner, job.id)

    assert await rescue_jobs(worker_runtime.jobs) == 1

    row = await rows.job(job.id)
    assert (row["state"], row["worker_losses"], row["attempts_used"], row["lease_token"]) == ("queued", 1, 1, None)
    (attempt,) = await rows.attempts(job.id)
    assert (attempt["outcome"], attempt["error_code"], attempt["billed"]) == ("unknown", "worker_lost", "maybe")
    assert (await rows.job(alive.id))["state"] == "running"
    await eventually(lambda: enqueued(worker_runtime, job.id), what="the job is enqueued")
    assert not await enqueued(worker_runtime, alive.id)
    assert await rescue_jobs(worker_runtime.jobs) == 0


async def test_a_job_that_loses_two_workers_fails_and_says_so(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    job = await start(api_runtime, worker_runtime, tenant, **HOOK)
    await lose_worker(owner, job.id)
    await rescue_jobs(worker_runtime.jobs)
    second = await worker_runtime.jobs.group_commit.claim(job.id)
    assert isinstance(second, ClaimedJob)
    assert (second.run_no, second.follows_lost_run) == (2, True)
    await worker_runtime.jobs.group_commit.mark_called(Run(job.id, tenant.id, 2))
    await lose_worker(owner, job.id)

    assert await rescue_jobs(worker_runtime.jobs) == 1

    row = await rows.job(job.id)
    assert (row["state"], row["error_code"], row["worker_losses"]) == ("failed", "worker_lost", 2)
    (delivery,) = await rows.deliveries(job.id)
    assert delivery["event_type"] == "job.failed"


async def test_a_job_whose_call_had_not_gone_out_pays_nothing_for_its_worker(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    job = await start(api_runtime, worker_runtime, tenant, called=False, max_attempts=1)

    for run_no in (1, 2, 3):
        await lose_worker(owner, job.id)
        assert await rescue_jobs(worker_runtime.jobs) == 1
        row = await rows.job(job.id)
        assert (row["state"], row["worker_losses"], row["attempts_used"]) == ("queued", 0, 0)
        again = await worker_runtime.jobs.group_commit.claim(job.id)
        assert isinstance(again, ClaimedJob)
        assert (again.run_no, again.attempts_used) == (run_no + 1, 1)
    assert {attempt["billed"] for attempt in await rows.attempts(job.id)} == {"no"}


async def test_a_job_that_kills_every_worker_before_its_call_is_no_bystander_for_ever(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    job = await start(api_runtime, worker_runtime, tenant, called=False)
    for _ in range(sweep._MAX_BYSTANDER_LOSSES + 2):
        await lose_worker(owner, job.id)
        await rescue_jobs(worker_runtime.jobs)
        await worker_runtime.jobs.group_commit.claim(job.id)

    assert (await rows.job(job.id))["state"] == "failed"


async def test_a_job_without_attempts_left_is_not_run_again(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    job = await start(api_runtime, worker_runtime, tenant, max_attempts=1)
    await lose_worker(owner, job.id)

    await rescue_jobs(worker_runtime.jobs)

    row = await rows.job(job.id)
    assert (row["state"], row["error_code"]) == ("failed", "worker_lost")


async def test_a_worker_that_was_only_slow_is_not_heard_any_more(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    job = await start(api_runtime, worker_runtime, tenant)
    await lose_worker(owner, job.id)
    await rescue_jobs(worker_runtime.jobs)

    await finish_job(worker_runtime.jobs, job, transitions.succeed(jobs.answer()))

    assert (await rows.job(job.id))["state"] == "queued"
    assert await rows.count("results") == 0
    (attempt,) = await rows.attempts(job.id)
    assert (attempt["outcome"], attempt["billed"]) == ("unknown", "yes")


@pytest.mark.parametrize("running", [False, True])
async def test_a_job_whose_deadline_passed_expires(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows, running: bool
) -> None:
    late = await jobs.submit(api_runtime.jobs, tenant.id, deadline_seconds=60.0, **HOOK)
    await jobs.submit(api_runtime.jobs, tenant.id, deadline_seconds=60.0)
    await jobs.submit(api_runtime.jobs, tenant.id)
    if running:
        await worker_runtime.jobs.group_commit.claim(late.id)
    await owner.execute("UPDATE jobs SET deadline_at = now() WHERE id = $1", late.id)

    assert await expire_jobs(worker_runtime.jobs) == 1

    row = await rows.job(late.id)
    assert (row["state"], row["error_code"]) == ("expired", "deadline_exceeded")
    assert [delivery["event_type"] for delivery in await rows.deliveries(late.id)] == ["job.expired"]
    assert [attempt["outcome"] for attempt in await rows.attempts(late.id)] == (["expired"] if running else [])
    assert await expire_jobs(worker_runtime.jobs) == 0


async def test_sweeps_at_once_share_the_work_and_mend_each_job_once(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    started = await asyncio.gather(*(start(api_runtime, worker_runtime, tenant, **HOOK) for _ in range(60)))
    await owner.execute("UPDATE jobs SET worker_losses = 1, deadline_at = now()")
    await lose_worker(owner)

    mended = await asyncio.gather(
        *(mend(worker_runtime.jobs) for mend in (rescue_jobs, expire_jobs, rescue_jobs, expire_jobs))
    )

    assert sum(mended) == len(started)
    assert await owner.fetchval("SELECT bool_and(version = 3 AND state IN ('failed', 'expired')) FROM jobs")
    assert await rows.count("deliveries") == len(started)


async def test_a_large_backlog_is_mended_batch_by_batch(
    worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 7)
    await owner.execute(
        "INSERT INTO jobs (id, tenant_id, model, request, priority, run_at, timeout_seconds, max_attempts, deadline_at)"
        " SELECT gen_random_uuid(), $1, 'echo/echo', '\\x007b7d', 'standard', now(), 1, 1, now()"
        " FROM generate_series(1, 16)",
        tenant.id,
    )

    assert [await expire_jobs(worker_runtime.jobs) for _ in range(4)] == [7, 7, 2, 0]


@pytest.mark.parametrize(("ahead", "rescued"), [("1 minute", 0), ("-1 s", 1)])
async def test_a_lease_of_the_previous_release_is_honoured(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, ahead: str, rescued: int
) -> None:
    """Its workers have a lease for each job and no row of their own."""
    await start(api_runtime, worker_runtime, tenant)
    await owner.execute(f"UPDATE jobs SET worker_id = 'old', lease_expires_at = now() + interval '{ahead}'")

    await declare_dead(worker_runtime.jobs)

    assert await rescue_jobs(worker_runtime.jobs) == rescued


async def test_a_job_of_a_worker_that_nobody_knows_is_taken_back(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    """Restored from a backup without the workers, for one; it is not held against the job."""
    job = await start(api_runtime, worker_runtime, tenant)
    await owner.execute("UPDATE jobs SET worker_id = 'unknown'")
    assert await rescue_jobs(worker_runtime.jobs) == 0

    await declare_dead(worker_runtime.jobs)

    assert await rescue_jobs(worker_runtime.jobs) == 1
    assert (await rows.job(job.id))["worker_losses"] == 0
    await owner.execute("DELETE FROM workers WHERE id = 'unknown'")
