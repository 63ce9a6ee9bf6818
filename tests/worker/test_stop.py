"""SIGTERM, as a rolling update sends it: what can end ends, the rest goes on elsewhere at no cost."""

from contextlib import AsyncExitStack

from core.domain.job_state import JobState
from core.queue.keys import IN_PROGRESS, Lane, job_member
from core.settings import Settings
from tests.support.processes import run_worker
from tests.worker.stage import WorkerStage
from tests.worker.worker_process import run_process


async def test_sigterm_drains(stage: WorkerStage, quick: Settings, stack: AsyncExitStack) -> None:
    """F31"""
    stopped = await stack.enter_async_context(run_process(quick))
    short, long = await stage.submit("fake/ok:0.3"), await stage.submit("fake/hang")
    calls = [await stage.call(number) for number in range(2)]
    assert await stopped.terminate() == 0
    assert (await stage.job(short)).state == JobState.SUCCEEDED
    row = await stage.row(long)
    assert (row["state"], row["attempts_used"], row["worker_losses"], row["run_no"]) == ("queued", 0, 0, 1)
    (attempt,) = (await stage.job(long)).attempts
    assert (attempt.outcome, attempt.error_code, attempt.billed) == ("snoozed", "worker_stopped", "maybe")
    assert {call.outcome for call in calls} == {"answered", "client_left"}
    redis, keys = stage.api.redis, stage.api.keys
    assert await redis.zrange(keys.lane(Lane.STANDARD), 0, -1) == [job_member(long).encode()]
    assert await redis.exists(IN_PROGRESS + job_member(long)) == 0


async def test_a_job_survives_any_number_of_deploys(stage: WorkerStage, quick: Settings, stack: AsyncExitStack) -> None:
    """F31: one attempt is all that it has, and each worker that gets it is stopped."""
    job_id = await stage.submit("fake/hang", max_attempts=1)
    for number in range(4):
        async with run_worker(quick):
            await stage.call(number)
    await stage.owner.execute("UPDATE jobs SET model = 'fake/ok' WHERE id = $1", job_id)
    await stack.enter_async_context(run_worker(quick))
    job = await stage.ended(job_id)
    assert (job.state, job.attempts_used, len(job.attempts)) == (JobState.SUCCEEDED, 1, 5)
