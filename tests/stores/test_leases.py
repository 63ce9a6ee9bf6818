"""A worker's lease and its runs: renewed together, ended by PostgreSQL's word, put back on a drain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest

from core.db.dedicated import DedicatedConnection
from core.jobs.cancel import cancel_jobs
from core.jobs.heartbeat import Lease, LeaseEnd, LeaseEnded, Leases
from core.jobs.records import ClaimedJob
from core.jobs.sweep import declare_dead, rescue_jobs
from core.jobs.worker_lease import WorkerLease
from core.runtime import ApiRuntime, WorkerRuntime
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from worker.tasks.beat import look_forever, renew_forever


@pytest.fixture
def leases(worker_runtime: WorkerRuntime) -> Leases:
    return worker_runtime.jobs.leases


@pytest.fixture
def worker(leases: Leases) -> WorkerLease:
    return leases.worker


@pytest.fixture
async def lease(leases: Leases, claimed: ClaimedJob) -> AsyncIterator[Lease]:
    async with leases.hold(claimed) as held:
        yield held


async def call(lease: Lease) -> LeaseEnd:
    """A call to a provider that never answers; how it ended."""
    with pytest.raises(LeaseEnded) as ended:
        async with lease.open_call():
            await asyncio.Event().wait()
    return ended.value.end


async def is_dead(owner: OwnerPool, worker_id: str) -> bool:
    return bool(await owner.fetchval("SELECT dead_at IS NOT NULL FROM workers WHERE id = $1", worker_id))


async def test_a_renewal_counts_here_and_in_postgresql(worker: WorkerLease, owner: OwnerPool) -> None:
    await owner.execute("UPDATE workers SET lease_expires_at = now() WHERE id = $1", worker.id)
    worker.valid_until = 0.0

    await worker.renew()

    assert worker.is_valid
    assert worker.may_claim
    left = "SELECT lease_expires_at > now() + interval '1 minute' FROM workers WHERE id = $1"
    assert await owner.fetchval(left, worker.id)


async def test_renewals_touch_no_index(worker: WorkerLease, owner: OwnerPool) -> None:
    """Whatever runs, a beat is one row of a small table, in its own page."""
    for _ in range(20):
        await worker.renew()

    async def all_hot() -> bool:
        row = await owner.fetchrow(
            "SELECT n_tup_upd AS updated, n_tup_hot_upd AS hot FROM pg_stat_all_tables WHERE relname = 'workers'"
        )
        assert row is not None
        return bool(row["updated"] >= 20 and row["hot"] == row["updated"])

    await eventually(all_hot, what="every renewal was HOT")


async def test_a_worker_that_was_declared_dead_begins_again_and_its_runs_are_over(
    worker: WorkerLease, lease: Lease, owner: OwnerPool
) -> None:
    calling, dead = asyncio.create_task(call(lease)), worker.id
    await owner.execute("UPDATE workers SET dead_at = now() WHERE id = $1", dead)

    await worker.renew()

    async with asyncio.timeout(10):
        assert await calling is LeaseEnd.LOST
    assert worker.id != dead
    assert worker.may_claim


async def test_an_old_renewal_lets_nothing_new_begin(worker: WorkerLease) -> None:
    assert worker.may_claim
    worker._renewed_at = asyncio.get_running_loop().time() - worker.gap_seconds - 1
    assert worker.is_valid
    assert not worker.may_claim


async def test_a_connection_that_hangs_is_replaced(
    worker_runtime: WorkerRuntime, worker: WorkerLease, owner: OwnerPool
) -> None:
    """A statement that gets no answer costs its time limit, and the next one has another connection."""
    alone = DedicatedConnection(worker_runtime.settings.database, "alone")
    before = await alone.fetchrow(5, "SELECT pg_backend_pid() AS pid")
    with pytest.raises(TimeoutError):
        await alone.fetchrow(0.05, "SELECT pg_sleep(5)")
    after = await alone.fetchrow(5, "SELECT pg_backend_pid() AS pid")
    alone.drop()
    assert before is not None
    assert after is not None
    assert before["pid"] != after["pid"]


async def test_a_locked_row_does_not_kill_its_worker(
    worker_runtime: WorkerRuntime, worker: WorkerLease, owner: OwnerPool
) -> None:
    """Who holds the row of a silent worker leaves unknown whether it lives."""
    other = replace(worker, name="other", id="", connection=DedicatedConnection(worker_runtime.settings.database, "o"))
    await other.register()
    await owner.execute("UPDATE workers SET lease_expires_at = now() - interval '1 s' WHERE id = $1", other.id)
    await owner.execute("UPDATE workers SET steady_since = now() - interval '2 hours' WHERE id = $1", worker.id)
    async with owner.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM workers WHERE id = $1 FOR UPDATE", other.id)
        await declare_dead(worker_runtime.jobs)
    assert not await is_dead(owner, other.id)
    await declare_dead(worker_runtime.jobs)
    assert await is_dead(owner, other.id)
    await other.leave()


async def test_a_renewal_that_comes_first_saves_the_worker(
    worker_runtime: WorkerRuntime, worker: WorkerLease, owner: OwnerPool
) -> None:
    """Of a judgement and a renewal at the same time one counts, and the other sees it."""
    await owner.execute("UPDATE workers SET steady_since = now() - interval '2 hours' WHERE id = $1", worker.id)
    other = replace(worker, name="other", id="", connection=DedicatedConnection(worker_runtime.settings.database, "o"))
    for _ in range(20):
        await other.register()
        before = other.id
        await owner.execute("UPDATE workers SET lease_expires_at = now() - interval '1 s' WHERE id = $1", before)
        await asyncio.gather(declare_dead(worker_runtime.jobs), other.renew())
        assert await is_dead(owner, before) == (other.id != before)
        await other.leave()


async def test_a_clock_that_went_back_hides_no_death(
    worker_runtime: WorkerRuntime, worker: WorkerLease, owner: OwnerPool
) -> None:
    """PostgreSQL's clock is three hours behind what it was: first all get time to renew, then somebody judges."""
    others = [
        replace(worker, name=name, id="", connection=DedicatedConnection(worker_runtime.settings.database, name))
        for name in ("lives", "dies")
    ]
    for other in others:
        await other.register()
    ids = [worker.id, *(other.id for other in others)]
    ahead = "renewed_at = now() + interval '3 hours', lease_expires_at = now() + interval '4 hours'"
    await owner.execute(f"UPDATE workers SET {ahead}, steady_since = now() - interval '1 s' WHERE id = ANY ($1)", ids)
    await worker.renew()
    assert await declare_dead(worker_runtime.jobs) == 0
    await others[0].renew()
    await owner.execute("UPDATE workers SET steady_since = steady_since - interval '2 hours' WHERE id = $1", worker.id)
    assert await declare_dead(worker_runtime.jobs) == 1
    assert await owner.fetchval("SELECT dead_at IS NOT NULL FROM workers WHERE id = $1", others[1].id)

    # And a series that began in what is now the future begins again.
    await owner.execute(f"UPDATE workers SET {ahead}, steady_since = renewed_at WHERE id = $1", worker.id)
    await worker.renew()
    assert await owner.fetchval("SELECT steady_since <= now() FROM workers WHERE id = $1", worker.id)
    for other in others:
        await other.leave()


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


async def test_the_loop_finds_out_by_itself(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, lease: Lease, tenant: Tenant
) -> None:
    lease.worker.heartbeat_seconds = 0.01
    looking = asyncio.create_task(look_forever(worker_runtime))
    calling = asyncio.create_task(call(lease))
    await cancel_jobs(api_runtime.jobs, tenant.id, [lease.job.id])

    async with asyncio.timeout(10):
        assert await calling is LeaseEnd.LOST
    looking.cancel()


async def test_a_run_that_nobody_knows_of_is_given_back(
    worker_runtime: WorkerRuntime, claimed: ClaimedJob, leases: Leases, rows: Rows
) -> None:
    """Claimed by a statement whose answer never came: its worker lives, so no sweep would ever find it."""
    assert await leases.look() == frozenset()
    unheld = await leases.look()

    assert unheld == {(claimed.id, claimed.run_no)}
    assert await rescue_jobs(worker_runtime.jobs, unheld) == 1
    row = await rows.job(claimed.id)
    assert (row["state"], row["attempts_used"], row["worker_losses"]) == ("queued", 0, 0)


async def test_a_run_is_given_back_once(
    worker_runtime: WorkerRuntime, claimed: ClaimedJob, leases: Leases, rows: Rows
) -> None:
    """By the time of it the job may run again: that run is left alone."""
    unheld = frozenset({(claimed.id, claimed.run_no)})
    await rescue_jobs(worker_runtime.jobs, unheld)
    again = await worker_runtime.jobs.group_commit.claim(claimed.id)
    assert isinstance(again, ClaimedJob)

    assert await rescue_jobs(worker_runtime.jobs, unheld) == 0
    assert (await rows.job(claimed.id))["run_no"] == again.run_no


async def test_while_the_lease_may_be_over_nothing_is_held_in_redis(leases: Leases, lease: Lease) -> None:
    assert leases.may_hold(lease.job.id)
    lease.worker.valid_until = 0.0
    assert not leases.may_hold(lease.job.id)


async def test_a_database_that_is_away_does_not_end_the_heartbeat(
    worker_runtime: WorkerRuntime, worker: WorkerLease, owner: OwnerPool
) -> None:
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    async def beats_on() -> None:
        seen = beats
        await eventually(lambda: beats > seen + 1, what="the heart beats on")

    worker.heartbeat_seconds = 0.5
    keeping = asyncio.create_task(renew_forever(worker_runtime, beat))
    end_backends = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'inferd-beat'"
    )
    for _ in range(3):
        await owner.fetchval(end_backends)
        await beats_on()
    worker.valid_until = 0.0

    await eventually(lambda: worker.is_valid, what="the lease is renewed")
    assert not keeping.done()
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping


async def test_a_drain_ends_every_run_and_the_ones_that_come(leases: Leases, lease: Lease, claimed: ClaimedJob) -> None:
    calling = asyncio.create_task(call(lease))
    await asyncio.sleep(0)

    leases.drain()

    async with asyncio.timeout(10):
        assert await calling is LeaseEnd.DRAINED
    async with leases.hold(claimed) as late:
        assert await call(late) is LeaseEnd.DRAINED


async def test_a_run_that_its_own_worker_started_again_is_over(
    leases: Leases, lease: Lease, claimed: ClaimedJob
) -> None:
    async with leases.hold(claimed) as newer:
        assert lease.ended is LeaseEnd.LOST
        newer.check()
    assert leases.may_hold(claimed.id)


async def test_a_providers_own_timeout_is_not_the_leases(lease: Lease) -> None:
    with pytest.raises(TimeoutError):
        async with lease.open_call():
            raise TimeoutError
    lease.check()


async def test_a_run_that_was_claimed_under_a_dead_id_makes_no_call(leases: Leases, claimed: ClaimedJob) -> None:
    """Its claim's answer came before the death was known, and its task began after it."""
    claimant = leases.worker.id
    await leases.worker.register()

    async with leases.hold(claimed, claimant) as lease:
        assert await call(lease) is LeaseEnd.LOST
