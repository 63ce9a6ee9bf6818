"""Waiting for a job: woken by a message, safe without one, and without a database connection meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import pytest

from core.domain.ids import JobId, TenantId, new_job_id, show_job
from core.domain.job_state import JobState
from core.jobs import watch
from core.jobs.cancel import cancel_jobs
from core.jobs.group_commit import GroupCommit
from core.jobs.records import JobRecord
from core.jobs.watch import Watch
from core.runtime import ApiRuntime
from tests.support import jobs
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


@pytest.fixture
async def waiting(api_runtime: ApiRuntime, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> JobRecord:
    """A job, and a Watch that does not look by itself before the test is over."""
    monkeypatch.setattr(watch, "_LOOK_AGAIN_SECONDS", 60.0)
    return await jobs.submit(api_runtime.jobs, tenant.id)


async def started(
    api: ApiRuntime, job_id: JobId, tenant: Tenant, count: int = 1
) -> "list[asyncio.Task[JobRecord | None]]":
    """Waiters that have looked once and now wait."""
    waiters = [asyncio.create_task(api.watch.until_ended(job_id, tenant.id, 50)) for _ in range(count)]
    await eventually(lambda: len(api.watch._waiting.get(job_id, ())) == count)
    await eventually(lambda: api.database.pool.get_idle_size() == api.database.pool.get_size())
    await api.jobs.group_commit.read(job_id, tenant.id)
    return waiters


async def test_a_message_wakes_everybody_who_waits_for_the_job(
    api_runtime: ApiRuntime, tenant: Tenant, waiting: JobRecord
) -> None:
    waiters = await started(api_runtime, waiting.id, tenant, 20)
    await cancel_jobs(api_runtime.jobs, tenant.id, [waiting.id])

    api_runtime.watch.changed(f"{show_job(new_job_id())} {show_job(waiting.id)}")

    async with asyncio.timeout(10):
        found = await asyncio.gather(*waiters)
    assert [job and job.state for job in found] == [JobState.CANCELLED] * 20


async def test_a_message_that_was_lost_delays_and_no_more(
    api_runtime: ApiRuntime, tenant: Tenant, waiting: JobRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LOOK_AGAIN_SECONDS", 0.02)
    waiter = asyncio.create_task(api_runtime.watch.until_ended(waiting.id, tenant.id, 50))
    await cancel_jobs(api_runtime.jobs, tenant.id, [waiting.id])

    async with asyncio.timeout(10):
        job = await waiter
    assert job is not None
    assert job.state is JobState.CANCELLED


async def test_after_a_reconnect_everybody_looks(api_runtime: ApiRuntime, tenant: Tenant, waiting: JobRecord) -> None:
    (waiter,) = await started(api_runtime, waiting.id, tenant)
    await cancel_jobs(api_runtime.jobs, tenant.id, [waiting.id])

    api_runtime.watch.look_again()

    async with asyncio.timeout(10):
        assert await waiter is not None


@dataclass
class Reads:
    """PostgreSQL's answers, counted; `after` is done after each look and before its answer is known."""

    api: ApiRuntime
    after: Callable[[JobId, TenantId], Awaitable[None]] | None = None
    count: int = 0

    async def read(self, job_id: JobId, tenant_id: TenantId) -> JobRecord | None:
        found = await self.api.jobs.group_commit.read(job_id, tenant_id)
        self.count += 1
        if self.after is not None:
            await self.after(job_id, tenant_id)
        return found

    def watch(self) -> Watch:
        return Watch(cast(GroupCommit, self))


async def test_a_change_during_the_look_is_not_missed(
    api_runtime: ApiRuntime, tenant: Tenant, waiting: JobRecord
) -> None:
    reads = Reads(api_runtime)
    watching = reads.watch()

    async def cancel(job_id: JobId, tenant_id: TenantId) -> None:
        await cancel_jobs(api_runtime.jobs, tenant_id, [job_id])
        watching.changed(show_job(job_id))

    reads.after = cancel
    async with asyncio.timeout(10):
        job = await watching.until_ended(waiting.id, tenant.id, 50)

    assert job is not None
    assert (job.state, reads.count) == (JobState.CANCELLED, 2)


async def test_a_change_that_is_no_end_costs_one_look_and_is_waited_through(
    api_runtime: ApiRuntime, tenant: Tenant, waiting: JobRecord
) -> None:
    reads = Reads(api_runtime)
    watching = reads.watch()

    async def looked(times: int) -> None:
        await eventually(lambda: reads.count >= times)

    waiter = asyncio.create_task(watching.until_ended(waiting.id, tenant.id, 50))
    for looks in (1, 2, 3):
        await looked(looks)
        # As long as a look takes; another one would be counted.
        await api_runtime.jobs.group_commit.read(waiting.id, tenant.id)
        assert reads.count == looks
        watching.changed(show_job(waiting.id))
    assert not waiter.done()

    await cancel_jobs(api_runtime.jobs, tenant.id, [waiting.id])
    watching.changed(show_job(waiting.id))
    async with asyncio.timeout(10):
        assert await waiter is not None


async def test_who_has_waited_long_enough_gets_the_job_as_it_stands(
    api_runtime: ApiRuntime, tenant: Tenant, waiting: JobRecord
) -> None:
    for seconds in (0.0, 0.03):
        job = await api_runtime.watch.until_ended(waiting.id, tenant.id, seconds)
        assert job is not None
        assert job.state is JobState.QUEUED


async def test_nobody_waits_for_what_is_not_theirs_or_is_over(
    api_runtime: ApiRuntime, tenant: Tenant, other_tenant: Tenant, waiting: JobRecord
) -> None:
    await cancel_jobs(api_runtime.jobs, tenant.id, [waiting.id])

    async with asyncio.timeout(10):
        assert await api_runtime.watch.until_ended(waiting.id, other_tenant.id, 50) is None
        assert await api_runtime.watch.until_ended(new_job_id(), TenantId(tenant.id), 50) is None
        assert await api_runtime.watch.until_ended(waiting.id, tenant.id, 50) is not None


async def test_a_process_that_stops_answers_with_what_it_knows(
    api_runtime: ApiRuntime, tenant: Tenant, waiting: JobRecord
) -> None:
    waiters = await started(api_runtime, waiting.id, tenant, 5)

    api_runtime.watch.close()

    async with asyncio.timeout(10):
        found = await asyncio.gather(*waiters)
    assert [job and job.state for job in found] == [JobState.QUEUED] * 5


async def test_waiting_holds_no_connection_and_leaves_nothing(
    api_runtime: ApiRuntime, tenant: Tenant, waiting: JobRecord
) -> None:
    waiters = await started(api_runtime, waiting.id, tenant, 200)
    pool = api_runtime.database.pool
    assert pool.get_idle_size() == pool.get_size()

    for waiter in waiters[::2]:
        waiter.cancel()
    await cancel_jobs(api_runtime.jobs, tenant.id, [waiting.id])
    api_runtime.watch.changed(show_job(waiting.id))

    async with asyncio.timeout(10):
        await asyncio.gather(*waiters, return_exceptions=True)
    assert not api_runtime.watch._waiting


@pytest.mark.parametrize("junk", ["", "   ", "job_", "dlv_" + "0" * 32, "\x00", "job_" + "z" * 32])
async def test_junk_on_the_channel_is_ignored(api_runtime: ApiRuntime, junk: str) -> None:
    api_runtime.watch.changed(junk)

    assert not api_runtime.watch._waiting
