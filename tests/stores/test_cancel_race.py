"""A cancel and an end at the same time: one of them happened, and everybody agrees which."""

import asyncio

from core.domain import transitions
from core.domain.ids import JobId
from core.domain.job_state import JobState
from core.domain.run_again import DONE
from core.jobs.cancel import cancel_jobs
from core.jobs.delete import delete_job
from core.jobs.finish import finish_job
from core.jobs.records import ClaimedJob, JobRecord
from core.jobs.retry import retry_jobs
from core.runtime import ApiRuntime, WorkerRuntime
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support import jobs
from tests.support.tenants import Tenant


async def start(api: ApiRuntime, worker: WorkerRuntime, tenant: Tenant, count: int = 1) -> list[ClaimedJob]:
    """Jobs that a worker has claimed."""
    submitted = await asyncio.gather(
        *(
            jobs.submit(api.jobs, tenant.id, webhook_url="https://example.com/", webhook_events=jobs.EVERY_EVENT)
            for _ in range(count)
        )
    )
    claimed = await asyncio.gather(*(worker.jobs.group_commit.claim(job.id) for job in submitted))
    return [each for each in claimed if isinstance(each, ClaimedJob)]


async def read(api: ApiRuntime, tenant: Tenant, job_id: JobId) -> JobRecord:
    found = await api.jobs.group_commit.read(job_id, tenant.id)
    assert found is not None
    return found


async def test_a_cancel_and_an_end_are_never_both(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, rows: Rows, owner: OwnerPool
) -> None:
    started = await start(api_runtime, worker_runtime, tenant, 60)

    cancels = asyncio.gather(*(cancel_jobs(api_runtime.jobs, tenant.id, [job.id]) for job in started))
    ends = asyncio.gather(
        *(finish_job(worker_runtime.jobs, job, transitions.succeed(jobs.answer())) for job in started[::-1])
    )
    outcomes, _ = await asyncio.gather(cancels, ends)

    answered = {row["job_id"] for row in await owner.fetch("SELECT job_id FROM results")}
    for job, outcome in zip(started, outcomes, strict=True):
        record = await read(api_runtime, tenant, job.id)
        # Who cancelled knows it; and only then there is no answer, now and later.
        cancelled = job.id in outcome.changed
        assert outcome.states[job.id] in ((JobState.RUNNING,) if cancelled else (JobState.SUCCEEDED,))
        assert record.state == (JobState.CANCELLED if cancelled else JobState.SUCCEEDED)
        assert (job.id in answered) is not cancelled
        assert (record.output is None) is cancelled
        assert [each.outcome for each in record.attempts] == [record.state.value]
        assert [each.event_type for each in record.deliveries] == [f"job.{record.state.value}"]


async def test_after_a_cancel_no_success_can_follow(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant
) -> None:
    (job,) = await start(api_runtime, worker_runtime, tenant)

    outcome = await cancel_jobs(api_runtime.jobs, tenant.id, [job.id])
    assert outcome.changed == {job.id}
    assert await finish_job(worker_runtime.jobs, job, transitions.succeed(jobs.answer())) == DONE

    record = await read(api_runtime, tenant, job.id)
    assert (record.state, record.output) == (JobState.CANCELLED, None)
    # The late answer does not count, but what it cost is known.
    assert record.attempts[0].billed == "yes"
    assert record.attempts[0].usage is not None
    assert record.attempts[0].usage["output_tokens"] == 3


async def test_after_a_success_a_cancel_changes_nothing(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, rows: Rows
) -> None:
    (job,) = await start(api_runtime, worker_runtime, tenant)
    await finish_job(worker_runtime.jobs, job, transitions.succeed(jobs.answer()))
    before = await rows.everything()

    outcome = await cancel_jobs(api_runtime.jobs, tenant.id, [job.id])

    assert (outcome.states, outcome.changed) == ({job.id: JobState.SUCCEEDED}, frozenset())
    assert await rows.everything() == before


async def test_a_run_from_before_a_manual_retry_is_not_heard(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant
) -> None:
    (job,) = await start(api_runtime, worker_runtime, tenant)
    await cancel_jobs(api_runtime.jobs, tenant.id, [job.id])
    assert (await retry_jobs(api_runtime.jobs, tenant.id, [job.id])).changed == {job.id}
    second = await worker_runtime.jobs.group_commit.claim(job.id)
    assert isinstance(second, ClaimedJob)

    await finish_job(worker_runtime.jobs, job, transitions.succeed(jobs.answer("the first run's")))
    assert (await read(api_runtime, tenant, job.id)).state == JobState.RUNNING

    await finish_job(worker_runtime.jobs, second, transitions.succeed(jobs.answer("the second run's")))
    record = await read(api_runtime, tenant, job.id)
    assert record.output is not None
    assert record.output["text"] == "the second run's"
    assert [(each.run_no, each.attempt, each.outcome) for each in record.attempts] == [
        (1, 1, "cancelled"),
        (2, 1, "succeeded"),
    ]


async def test_nobody_changes_what_is_somebody_elses(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, other_tenant: Tenant, rows: Rows
) -> None:
    (job,) = await start(api_runtime, worker_runtime, tenant)
    before = await rows.everything()

    for change in (cancel_jobs, retry_jobs):
        outcome = await change(api_runtime.jobs, other_tenant.id, [job.id])
        assert (outcome.states, outcome.changed) == ({}, frozenset())
    assert not await delete_job(api_runtime.jobs, other_tenant.id, job.id)

    assert await rows.everything() == before


async def test_a_running_job_that_is_deleted_is_cancelled_and_gone_but_for_what_is_still_to_be_sent(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, rows: Rows
) -> None:
    (job,) = await start(api_runtime, worker_runtime, tenant)

    assert await delete_job(api_runtime.jobs, tenant.id, job.id)

    left = await rows.everything()
    assert {table for table, found in left.items() if found} == {"deleted_jobs", "deliveries"}
    assert await finish_job(worker_runtime.jobs, job, transitions.succeed(jobs.answer())) == DONE
    assert not await delete_job(api_runtime.jobs, tenant.id, job.id)
    assert await rows.everything() == left
