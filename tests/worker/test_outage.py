"""A provider that is away, throttles for ever, or is not set up at this worker: jobs wait and keep their attempts."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from core.domain.job_state import JobState
from core.domain.retry import Backoff, RetryLimits
from core.observability.metrics import REGISTRY
from core.runtime import open_api
from core.settings import JobSettings, Settings
from local.processes import free_port
from tests.conformance.fake_provider import FakeProvider
from tests.conftest import MakeSettings, OwnerPool
from tests.support.processes import run_worker
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.worker.stage import WorkerStage


def fake_settings(make_settings: MakeSettings, base_url: str, **job: float) -> Settings:
    return make_settings(
        worker={"lease_seconds": 5.0, "heartbeat_seconds": 0.5, "sweep_seconds": 0.25, "concurrency": 50},
        providers={"fake": {"base_url": base_url}},
        job={"retry_initial_seconds": 0.05, "retry_max_seconds": 0.5, **job},
    )


async def test_three_hundred_jobs_wait_for_a_provider_that_refuses_connections(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    """F34: as many refusals as are needed to know it, one probe at a time meanwhile, and then everything."""
    port = free_port("127.0.0.1")
    settings = fake_settings(make_settings, f"http://127.0.0.1:{port}/v1")
    fake = FakeProvider(port=port)
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    job_ids = await asyncio.gather(*[stage.submit("fake/ok", max_attempts=2) for _ in range(300)])
    await stack.enter_async_context(run_worker(settings))

    async def all_were_put_off() -> bool:
        return bool(await owner.fetchval("SELECT count(*) = 300 FROM jobs WHERE snoozes > 0"))

    await eventually(all_were_put_off, what="every job was tried or put off")
    called = await owner.fetchval("SELECT count(*) FROM attempts WHERE called_at IS NOT NULL")
    # 50 side by side before anything was known.
    assert 5 <= called < 100
    await stack.enter_async_context(fake)
    done = "SELECT count(*) = 300 FROM jobs WHERE finished_at IS NOT NULL"
    await eventually(lambda: owner.fetchval(done), seconds=40, what="every job ends")
    jobs = await stage.all_ended(job_ids)

    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert {job.attempts_used for job in jobs} == {1}
    assert len(fake.calls) == 300
    paid = {each.billed for job in jobs for each in job.attempts if each.outcome == "snoozed"}
    assert paid == {"no"}


@pytest.mark.parametrize("model", ["fake/unavailable", "fake/overloaded", "fake/bad-gateway"])
async def test_a_server_that_restarts_costs_no_attempt(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider, stack: AsyncExitStack, model: str
) -> None:
    settings = fake_settings(make_settings, fake.base_url)
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    job_id = await stage.submit(model, max_attempts=1)
    await stack.enter_async_context(run_worker(settings))
    await fake.call(2)
    await owner.execute("UPDATE jobs SET model = 'fake/ok' WHERE id = $1", job_id)
    job = await stage.ended(job_id)
    assert (job.state, job.attempts_used) == (JobState.SUCCEEDED, 1)


async def test_a_server_that_throttles_for_ever_ends_in_a_failure_that_says_so(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider, stack: AsyncExitStack
) -> None:
    settings = fake_settings(
        make_settings, fake.base_url, patience_seconds=1.0, retry_initial_seconds=0.01, retry_max_seconds=0.02
    )
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    job_id = await stage.submit("fake/rate-limited:0.001")
    await stack.enter_async_context(run_worker(settings))
    job = await stage.ended(job_id)
    assert (job.state, job.error_class, job.error_code) == (JobState.FAILED, "throttled", "waited_too_long")
    assert job.error_message is not None
    assert job.error_message.startswith("Given up: the provider returned 429 for 1")
    assert (await stage.row(job_id))["run_no"] == len(fake.calls) > 1
    assert [each.outcome for each in job.attempts[:-1]] == ["snoozed"] * (len(job.attempts) - 1)
    assert job.attempts[-1].outcome == "failed"


async def test_snoozes_grow_by_their_number_and_an_attempt_that_counts_ends_them(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider, stack: AsyncExitStack
) -> None:
    settings = fake_settings(make_settings, fake.base_url, retry_initial_seconds=0.02, retry_max_seconds=60.0)
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    job_id = await stage.submit("fake/rate-limited:0.001")
    worker = await stack.enter_async_context(run_worker(settings))
    await fake.call(5)
    await owner.execute("UPDATE jobs SET model = 'fake/error' WHERE id = $1", job_id)
    await fake.call(6)

    async def counted() -> bool:
        row = await stage.row(job_id)
        return (row["state"], row["snoozes"], row["snoozed_since"]) == ("queued", 0, None)

    await eventually(counted, what="the attempt that failed ended the snoozes")
    await worker.stop()
    waits = [each.wait_seconds or 0.0 for each in (await stage.job(job_id)).attempts if each.outcome == "snoozed"]
    assert all(0.01 * 2**nth <= wait <= 0.001 + 0.02 * 2**nth for nth, wait in enumerate(waits[:6]))


@pytest.mark.parametrize(
    ("model", "own"),
    [
        ("fake/rate-limited:0.001", RetryLimits(initial_seconds=1e-300)),
        ("fake/rate-limited:0.001", RetryLimits(max_seconds=1e-9)),
        ("fake/unavailable", RetryLimits(max_seconds=1e-9)),
    ],
)
async def test_a_job_that_wants_no_waits_does_not_call_in_a_loop(
    make_settings: MakeSettings,
    tenant: Tenant,
    owner: OwnerPool,
    fake: FakeProvider,
    stack: AsyncExitStack,
    model: str,
    own: RetryLimits,
) -> None:
    """Snoozes cost no attempt: without waits one job called a provider that throttles 12 times a second, for a day."""
    settings = fake_settings(make_settings, fake.base_url, retry_initial_seconds=0.4)
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    job_id = await stage.submit(model, retry=own)
    worker = await stack.enter_async_context(run_worker(settings))
    await fake.call(3)
    await worker.stop()
    waits = [each.wait_seconds or 0.0 for each in (await stage.job(job_id)).attempts if each.outcome == "snoozed"]
    assert len(waits) >= 2
    assert min(waits) >= 0.2


async def test_a_worker_without_the_provider_leaves_jobs_to_others(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider, stack: AsyncExitStack
) -> None:
    right = fake_settings(make_settings, fake.base_url)
    wrong = right.model_copy(update={"providers": {}})
    stage = WorkerStage(await stack.enter_async_context(open_api(right)), tenant, owner, fake)
    job_id = await stage.submit("fake/ok", max_attempts=1)
    before = REGISTRY.get_sample_value("inferd_worker_misconfigured_total", {"reason": "provider"}) or 0
    async with run_worker(wrong):
        await stage.in_state(job_id, JobState.QUEUED, run_no=2)
    await stack.enter_async_context(run_worker(right))
    job = await stage.ended(job_id)
    assert (job.state, job.attempts_used) == (JobState.SUCCEEDED, 1)
    assert (REGISTRY.get_sample_value("inferd_worker_misconfigured_total", {"reason": "provider"}) or 0) >= before + 2
    first = job.attempts[0]
    assert (first.outcome, first.error_code, first.billed) == ("snoozed", "worker_misconfigured", "no")
    assert first.error_message is not None
    assert "There is no provider `fake`" in first.error_message


async def test_a_job_that_no_worker_can_run_ends_with_a_reason(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider, stack: AsyncExitStack
) -> None:
    settings = fake_settings(make_settings, fake.base_url, patience_seconds=0.5)
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    job_id = await stage.submit("fake/ok")
    await owner.execute("UPDATE jobs SET request = $2 WHERE id = $1", job_id, b"\x01sealed with another key")
    await stack.enter_async_context(run_worker(settings))

    async def ended() -> str | None:
        row = await stage.row(job_id)
        return row["finished_at"] and f"{row['state']} {row['error_code']}: {row['error_message']}"

    said = await eventually(ended)
    assert said.startswith("failed waited_too_long: Given up: the job could not run for 0.")
    assert "jobs.request: sealed, and INFERD_MASTER_KEY is not set" in said


async def test_a_deadline_wins_over_patience(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    settings = fake_settings(make_settings, f"http://127.0.0.1:{free_port('127.0.0.1')}/v1")
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, FakeProvider())
    job_id = await stage.submit("fake/ok", deadline_seconds=1.5)
    await stack.enter_async_context(run_worker(settings))
    job = await stage.ended(job_id)
    assert (job.state, job.error_code) in {
        (JobState.EXPIRED, "deadline_exceeded"),
        (JobState.FAILED, "provider_unreachable"),
        (JobState.FAILED, "provider_paused"),
    }


async def test_limits_are_the_jobs_then_its_providers_then_the_settings(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider, stack: AsyncExitStack
) -> None:
    settings = make_settings(
        providers={"fake": {"base_url": fake.base_url, "retry": {"max_attempts": 2, "initial_seconds": 0.01}}},
        job={"max_attempts": 4, "retry_initial_seconds": 0.02, "retry_max_seconds": 0.02},
    )
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    await stack.enter_async_context(run_worker(settings))
    of_provider = await stage.submit("fake/error")
    own = await stage.submit("fake/error", retry=RetryLimits(3, max_seconds=0.015))
    jobs = await stage.all_ended([of_provider, own])
    assert [(job.state, len(job.attempts)) for job in jobs] == [(JobState.FAILED, 2), (JobState.FAILED, 3)]
    assert [(job.max_attempts, job.retry_initial_seconds, job.retry_max_seconds) for job in jobs] == [
        (2, 0.01, 0.02),
        (3, 0.01, 0.015),
    ]
    waits = [each.wait_seconds or 0.0 for each in jobs[1].attempts[:2]]
    assert 0.005 <= waits[0] <= 0.01
    assert 0.0075 <= waits[1] <= 0.015


async def test_a_job_of_an_older_release_is_retried_as_the_settings_say(
    make_settings: MakeSettings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider, stack: AsyncExitStack
) -> None:
    settings = fake_settings(make_settings, fake.base_url)
    stage = WorkerStage(await stack.enter_async_context(open_api(settings)), tenant, owner, fake)
    job_id = await stage.submit("fake/flaky:1")
    await owner.execute("UPDATE jobs SET retry_initial_seconds = NULL, retry_max_seconds = NULL")
    await stack.enter_async_context(run_worker(settings))
    job = await stage.ended(job_id)
    assert (job.state, job.attempts_used) == (JobState.SUCCEEDED, 2)
    assert 0.025 <= (job.attempts[0].wait_seconds or 0.0) <= 0.05


def test_the_defaults_outlast_a_restart_of_a_minute() -> None:
    """Also where each try costs an attempt, as behind a proxy that accepts and hangs up."""
    job = JobSettings()
    backoff = Backoff(job.retry_initial_seconds, job.retry_max_seconds)
    assert sum(backoff.delay(number, 0.0) for number in range(1, job.max_attempts)) > 60
