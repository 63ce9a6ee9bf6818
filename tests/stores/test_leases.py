"""A worker's leases: renewed together, ended by PostgreSQL's word or by the worker's own clock, put back on a drain."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.jobs.cancel import cancel_jobs
from core.jobs.heartbeat import Lease, LeaseEnd, LeaseEnded, Leases
from core.jobs.records import ClaimedJob
from core.runtime import ApiRuntime, WorkerRuntime
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support import jobs
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


@pytest.fixture
async def claimed(api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant) -> ClaimedJob:
    job = await jobs.submit(api_runtime.jobs, tenant.id)
    found = await worker_runtime.jobs.group_commit.claims.submit(job.id)
    assert isinstance(found, ClaimedJob)
    return found


@pytest.fixture
def leases(worker_runtime: WorkerRuntime) -> Leases:
    return Leases(worker_runtime.database, lease_seconds=30.0, heartbeat_seconds=0.01)


@pytest.fixture
async def lease(leases: Leases, claimed: ClaimedJob) -> AsyncIterator[Lease]:
    async with leases.hold(claimed, asyncio.get_running_loop().time()) as held:
        yield held


async def call(lease: Lease) -> LeaseEnd:
    """A call to a provider that never answers; how it ended."""
    with pytest.raises(LeaseEnded) as ended:
        async with lease.open_call():
            await asyncio.Event().wait()
    return ended.value.end


async def test_a_beat_renews_here_and_in_postgresql(leases: Leases, lease: Lease, rows: Rows, owner: OwnerPool) -> None:
    await owner.execute("UPDATE jobs SET lease_expires_at = now()")
    before = lease.valid_until = asyncio.get_running_loop().time() + 1

    await leases.beat([lease])

    assert lease.valid_until > before
    assert await owner.fetchval("SELECT lease_expires_at > now() + interval '20 s' FROM jobs")
    lease.check()


async def test_a_cancelled_jobs_call_is_closed_when_postgresql_says_so(
    api_runtime: ApiRuntime, leases: Leases, lease: Lease, tenant: Tenant
) -> None:
    calling = asyncio.create_task(call(lease))
    await cancel_jobs(api_runtime.jobs, tenant.id, [lease.job.id])

    await leases.check([lease.job.id])

    async with asyncio.timeout(10):
        assert await calling is LeaseEnd.LOST


async def test_a_message_about_a_job_that_goes_on_ends_nothing(leases: Leases, lease: Lease) -> None:
    calling = asyncio.create_task(call(lease))

    await leases.check([lease.job.id])

    assert not calling.done()
    lease.end(LeaseEnd.DRAINED)
    assert await calling is LeaseEnd.DRAINED


async def test_the_heartbeat_finds_out_by_itself(
    api_runtime: ApiRuntime, leases: Leases, lease: Lease, tenant: Tenant
) -> None:
    keeping = asyncio.create_task(leases.keep())
    calling = asyncio.create_task(call(lease))
    await cancel_jobs(api_runtime.jobs, tenant.id, [lease.job.id])

    async with asyncio.timeout(10):
        assert await calling is LeaseEnd.LOST
    keeping.cancel()


async def test_a_worker_that_can_not_renew_begins_nothing_new(leases: Leases, lease: Lease) -> None:
    assert leases.may_hold(lease.job.id)
    lease.valid_until = asyncio.get_running_loop().time()

    with pytest.raises(LeaseEnded) as ended:
        lease.check()

    assert ended.value.end is LeaseEnd.LOST
    assert not leases.may_hold(lease.job.id)
    assert await call(lease) is LeaseEnd.LOST


async def test_a_database_that_is_away_does_not_end_the_heartbeat(
    worker_runtime: WorkerRuntime, leases: Leases, lease: Lease, owner: OwnerPool
) -> None:
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    async def beats_on() -> None:
        seen = beats
        await eventually(lambda: beats > seen + 1, what="the heart beats on")

    keeping = asyncio.create_task(leases.keep(beat))
    end_backends = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'inferd-worker'"
    )
    for _ in range(3):
        await owner.fetchval(end_backends)
        await beats_on()
    before = lease.valid_until = 0.0

    await eventually(lambda: lease.valid_until > before, what="the lease is renewed")
    assert not keeping.done()
    keeping.cancel()


async def test_a_drain_ends_every_run_and_the_ones_that_come(leases: Leases, lease: Lease, claimed: ClaimedJob) -> None:
    calling = asyncio.create_task(call(lease))
    await asyncio.sleep(0)

    leases.drain()

    async with asyncio.timeout(10):
        assert await calling is LeaseEnd.DRAINED
    async with leases.hold(claimed, asyncio.get_running_loop().time()) as late:
        assert await call(late) is LeaseEnd.DRAINED


async def test_a_run_that_its_own_worker_started_again_is_over(
    leases: Leases, lease: Lease, claimed: ClaimedJob
) -> None:
    async with leases.hold(claimed, asyncio.get_running_loop().time()) as newer:
        assert lease.ended is LeaseEnd.LOST
        newer.check()
    assert leases.may_hold(claimed.id)


async def test_a_providers_own_timeout_is_not_the_leases(lease: Lease) -> None:
    with pytest.raises(TimeoutError):
        async with lease.open_call():
            raise TimeoutError
    lease.check()
