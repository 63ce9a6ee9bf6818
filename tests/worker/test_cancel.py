"""Cancel while it runs: the provider's connection is closed, and the answer that was given stays true."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from core.domain.job_state import JobState
from core.jobs.retry import retry_jobs
from core.runtime import open_api
from core.settings import Settings
from tests.conformance.fake_provider import FakeProvider
from tests.conftest import OwnerPool
from tests.queue.own_valkey import OwnValkey, on_valkey
from tests.support.processes import run_worker
from tests.support.tenants import Tenant
from tests.worker.stage import WorkerStage


def beating(settings: Settings, *, heartbeat_seconds: float, lease_seconds: float) -> Settings:
    times = {"heartbeat_seconds": heartbeat_seconds, "lease_seconds": lease_seconds}
    return settings.model_copy(update={"worker": settings.worker.model_copy(update=times)})


@pytest.mark.parametrize("model", ["fake/hang", "fake/hang-after-headers", "fake/drip"])
async def test_a_message_closes_the_call(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack, model: str
) -> None:
    """F27: no heartbeat comes in an hour, so only the message can have done it."""
    await stack.enter_async_context(run_worker(beating(quick, heartbeat_seconds=3600, lease_seconds=14_400)))
    job_id = await stage.submit(model)
    call = await stage.call()
    assert await stage.cancel(job_id)
    await asyncio.wait_for(call.over.wait(), 15)
    assert call.outcome == "client_left"
    job = await stage.job(job_id)
    assert (job.state, job.error_code, job.output) == (JobState.CANCELLED, "cancelled", None)
    assert [(each.outcome, each.billed) for each in job.attempts] == [("cancelled", "maybe")]


async def test_without_redis_the_next_heartbeat_closes_the_call(
    quick: Settings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider, valkey: OwnValkey, stack: AsyncExitStack
) -> None:
    settings = on_valkey(beating(quick, heartbeat_seconds=0.2, lease_seconds=60), valkey)
    await stack.enter_async_context(run_worker(settings))
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    job_id = await stage.submit("fake/hang")
    call = await stage.call()
    await valkey.kill()
    assert await stage.cancel(job_id)
    await asyncio.wait_for(call.over.wait(), 15)
    assert (call.outcome, (await stage.job(job_id)).state) == ("client_left", JobState.CANCELLED)


async def test_cancelling_many_closes_them_all(stage: WorkerStage, quick: Settings, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(run_worker(beating(quick, heartbeat_seconds=3600, lease_seconds=14_400)))
    job_ids = [await stage.submit("fake/hang") for _ in range(40)]
    calls = [await stage.call(number) for number in range(40)]
    assert all(await asyncio.gather(*map(stage.cancel, job_ids)))
    for call in calls:
        await asyncio.wait_for(call.over.wait(), 15)
    assert {call.outcome for call in calls} == {"client_left"}


async def test_either_the_cancel_or_the_answer_was_first(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """F25, F26: whatever the race, what the cancel answered is what everybody sees, for ever."""
    await stack.enter_async_context(run_worker(quick))
    rand = random.Random(3)  # noqa: S311 - a schedule that can be repeated

    async def race(seconds: float, patience: float) -> tuple[bool, JobState, int]:
        job_id = await stage.submit("echo/echo", params={"delay_seconds": seconds})
        await asyncio.sleep(patience)
        cancelled = await stage.cancel(job_id)
        at_once = (await stage.job(job_id)).state
        job = await stage.ended(job_id)
        assert at_once == job.state
        return cancelled, job.state, await stage.results(job_id)

    races = [race(rand.random() * 0.15, rand.random() * 0.2) for _ in range(150)]
    outcomes = await asyncio.gather(*races)
    assert set(outcomes) == {(True, JobState.CANCELLED, 0), (False, JobState.SUCCEEDED, 1)}


async def test_a_cancelled_job_that_is_retried_runs_anew(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """The run that was cancelled may still be closing its call; the new one is another run."""
    await stack.enter_async_context(run_worker(quick))
    job_id = await stage.submit("fake/hang")
    first = await stage.call()
    await stage.cancel(job_id)
    await stage.owner.execute("UPDATE jobs SET model = 'fake/ok' WHERE id = $1", job_id)
    await retry_jobs(stage.api.jobs, stage.tenant.id, [job_id])
    job = await stage.ended(job_id)
    await asyncio.wait_for(first.over.wait(), 15)
    assert (job.state, first.outcome) == (JobState.SUCCEEDED, "client_left")
    assert [(each.run_no, each.attempt, each.outcome) for each in job.attempts] == [
        (1, 1, "cancelled"),
        (2, 1, "succeeded"),
    ]
