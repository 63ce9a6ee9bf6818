"""A worker that dies or stands still with a job in its hands: somebody else takes over, and the late one is refused."""

from contextlib import AsyncExitStack

import pytest

from core.domain.job_state import JobState
from core.jobs import store
from core.jobs.records import Run
from core.jobs.sweep import rescue_jobs
from core.queue.enqueue import job_entry
from core.queue.keys import Lane, job_member
from core.runtime import WorkerRuntime, open_worker
from core.settings import Settings
from tests.support.jobs import claim, insert
from tests.support.processes import run_worker
from tests.support.waiting import eventually
from tests.support.workers import enlist
from tests.worker.stage import WorkerStage
from tests.worker.worker_process import run_process


async def test_a_killed_workers_job_is_run_by_another_one(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """F12: one more call, and the attempt says that nobody knows how the first one ended."""
    job_id = await stage.submit("fake/ok:0.4")
    killed = await stack.enter_async_context(run_process(quick))
    call = await stage.call()
    assert killed.owns((await stage.row(job_id))["worker_id"])
    await killed.kill()
    await stack.enter_async_context(run_worker(quick))
    job = await stage.ended(job_id)
    assert (job.state, job.attempts_used) == (JobState.SUCCEEDED, 2)
    assert [(each.outcome, each.billed) for each in job.attempts] == [("unknown", "maybe"), ("succeeded", "yes")]
    assert (call.outcome, len(stage.fake.calls)) == ("client_left", 2)
    assert await stage.results(job_id) == 1


async def test_a_job_that_kills_two_workers_is_given_up(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """F23: though attempts are left."""
    job_id = await stage.submit("fake/hang", max_attempts=10)
    # Three: one lives on each time, else a loss would not count. Each has seen the others before it is killed.
    # A beat that is late on a busy machine must not look like a stall of PostgreSQL, in which no loss counts.
    slower = quick.model_copy(update={"worker": quick.worker.model_copy(update={"lease_seconds": 3.0})})
    workers = [await stack.enter_async_context(run_process(slower)) for _ in range(3)]

    async def all_renewed() -> bool:
        rows = await stage.owner.fetch("SELECT id, renewed_at, steady_since FROM workers WHERE dead_at IS NULL")
        ours = [row for row in rows if any(worker.owns(row["id"]) for worker in workers)]
        return len(ours) == 3 and min(row["renewed_at"] for row in ours) > max(row["steady_since"] for row in ours)

    await eventually(all_renewed, seconds=40, what="the workers are there")
    for number in range(2):
        await stage.call(number)
        worker_id = (await stage.row(job_id))["worker_id"]
        (holder,) = [worker for worker in workers if worker.owns(worker_id)]
        await holder.kill()
    job = await stage.ended(job_id)
    assert (job.state, job.error_code, job.attempts_used) == (JobState.FAILED, "worker_lost", 2)
    assert [each.outcome for each in job.attempts] == ["unknown", "unknown"]
    assert len(stage.fake.calls) == 2


async def test_a_worker_that_stood_still_is_too_late(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """F15: its answer is refused while another run is under way; what it cost is kept."""
    job_id = await stage.submit("fake/ok:0.8")
    stopped = await stack.enter_async_context(run_process(quick))
    await stage.call()
    stopped.pause()
    await stack.enter_async_context(run_worker(quick))
    await stage.in_state(job_id, JobState.RUNNING, run_no=2)
    stopped.resume()

    async def late_usage() -> bool:
        attempts = (await stage.job(job_id)).attempts
        return attempts[0].usage is not None

    await eventually(late_usage, what="the late answer is noted")
    row = await stage.row(job_id)
    assert (row["state"], row["run_no"]) == (JobState.RUNNING, 2)
    job = await stage.ended(job_id)
    assert [(each.outcome, each.billed) for each in job.attempts] == [("unknown", "yes"), ("succeeded", "yes")]
    assert await stage.owner.fetchval("SELECT run_no FROM results WHERE job_id = $1", job_id) == 2


async def test_neighbours_of_a_dead_worker_lose_no_attempt(stage: WorkerStage, worker_runtime: WorkerRuntime) -> None:
    """F11, F23: only the job whose call had gone out may be what killed it."""
    async with worker_runtime.database.pool.acquire() as connection, connection.transaction():
        called, waiting = [await insert(connection, stage.tenant.id) for _ in range(2)]
        first, _ = await claim(connection, [called, waiting], dead=True)
        assert await store.mark_called(connection, [Run(called, stage.tenant.id, first.run_no)]) == [True]
    assert await rescue_jobs(worker_runtime.jobs) == 2
    rows = [await stage.row(job_id) for job_id in (called, waiting)]
    assert [(row["state"], row["attempts_used"], row["worker_losses"]) for row in rows] == [
        ("queued", 1, 1),
        ("queued", 0, 0),
    ]


async def test_a_rescued_job_does_not_wait_again(stage: WorkerStage, worker_runtime: WorkerRuntime) -> None:
    """It had begun before those that wait, and goes before them."""
    enqueuer, keys = worker_runtime.jobs.enqueuer, worker_runtime.keys
    async with worker_runtime.database.pool.acquire() as connection:
        lost, waits = [await insert(connection, stage.tenant.id) for _ in range(2)]
        await claim(connection, [lost], dead=True)
    await enqueuer.enqueue_now([job_entry(waits, Lane.STANDARD)])
    await rescue_jobs(worker_runtime.jobs)
    members = [job_member(lost), job_member(waits)]

    async def in_order() -> bool:
        found = await worker_runtime.redis.zrange(keys.lane(Lane.STANDARD), 0, -1)
        return [member.decode() for member in found] == members

    await eventually(in_order)


async def test_who_was_there_each_time_is_no_neighbour(stage: WorkerStage, worker_runtime: WorkerRuntime) -> None:
    """F23: a job that kills its worker before its call goes out does not go on for ever."""
    async with worker_runtime.database.pool.acquire() as connection:
        job_id = await insert(connection, stage.tenant.id)
        runs = 0
        while (await stage.row(job_id))["state"] == JobState.QUEUED:
            await claim(connection, [job_id], dead=True)
            await rescue_jobs(worker_runtime.jobs)
            runs += 1
    job = await stage.job(job_id)
    assert (job.state, job.error_code, runs) == (JobState.FAILED, "worker_lost", 12)
    assert {each.billed for each in job.attempts} == {"no"}


async def test_a_worker_that_dies_alone_is_not_held_against_its_job(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """Nobody saw how: everything may have died with it. The attempts bound how often."""
    await stage.owner.execute("UPDATE workers SET steady_since = now() + interval '1 day'")
    job_id = await stage.submit("fake/hang", max_attempts=3)
    for number in range(3):
        alone = await stack.enter_async_context(run_process(quick))
        await stage.call(number)
        await alone.kill()
    await stack.enter_async_context(run_worker(quick))
    job = await stage.ended(job_id)
    assert (job.state, job.error_code, job.attempts_used) == (JobState.FAILED, "worker_lost", 3)


async def test_a_lease_that_is_renewed_is_not_taken(stage: WorkerStage, quick: Settings, stack: AsyncExitStack) -> None:
    """It runs for three leases while another worker sweeps."""
    for _ in range(2):
        await stack.enter_async_context(run_worker(quick))
    job = await stage.ended(await stage.submit("fake/ok:3"))
    assert (job.state, len(job.attempts), len(stage.fake.calls)) == (JobState.SUCCEEDED, 1, 1)


@pytest.mark.parametrize("same_worker", [False, True])
async def test_a_lease_ends_for_the_run_that_lost_it(
    stage: WorkerStage, quick: Settings, worker_runtime: WorkerRuntime, stack: AsyncExitStack, same_worker: bool
) -> None:
    """F16: a run has its own number, so the worker that has both learns which one is over."""
    here = worker_runtime
    there = here if same_worker else await stack.enter_async_context(open_worker(quick))
    if not same_worker:
        await enlist(there)
    async with here.database.pool.acquire() as connection:
        job_id = await insert(connection, stage.tenant.id)
        (first,) = await claim(connection, [job_id], dead=True)
        async with here.jobs.leases.hold(first) as earlier:
            await rescue_jobs(here.jobs)
            (second,) = await claim(connection, [job_id], worker_id=there.jobs.leases.worker.id)
            async with there.jobs.leases.hold(second) as later:
                for runtime in (here, there):
                    await runtime.jobs.leases.check([job_id])
                assert (earlier.is_valid, later.is_valid) == (False, True)
