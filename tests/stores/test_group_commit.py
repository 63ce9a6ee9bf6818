"""The hot statements in batches on PostgreSQL: tenants side by side, and one bad row that fails alone."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from core.db.grouping import GrouperClosed
from core.domain import transitions
from core.domain.ids import new_job_id
from core.jobs.records import Applied, Change, ClaimedJob, Inserted, JobRecord, KeyHeld, RowLocked
from core.runtime import ApiRuntime, WorkerRuntime, open_api
from core.settings import Settings
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support import jobs
from tests.support.tenants import Tenant


async def test_tenants_share_a_group_and_see_their_own(
    api_runtime: ApiRuntime, tenant: Tenant, other_tenant: Tenant
) -> None:
    insert, read = api_runtime.jobs.group_commit.insert, api_runtime.jobs.group_commit.read
    owned_by = [tenant.id if number % 2 else other_tenant.id for number in range(40)]
    new = [
        jobs.new_job(tenant_id, idempotency_key=str(number), fingerprint=b"x")
        for number, tenant_id in enumerate(owned_by)
    ]

    inserted = await asyncio.gather(*map(insert, new))
    own = await asyncio.gather(*(read(job.id, job.tenant_id) for job in new))
    swapped = await asyncio.gather(
        *(read(job.id, tenant.id if job.tenant_id == other_tenant.id else other_tenant.id) for job in new)
    )

    assert all(isinstance(each, Inserted) for each in inserted)
    assert [(each.id, each.tenant_id) for each in own if each] == [(job.id, job.tenant_id) for job in new]
    assert swapped == [None] * 40


@pytest.mark.parametrize("bad", ["nul", "json", "null", "tenant", "number"])
async def test_a_row_that_postgresql_refuses_fails_alone(
    api_runtime: ApiRuntime, tenant: Tenant, rows: Rows, bad: str
) -> None:
    broken: dict[str, dict[str, Any]] = {
        "nul": {"model": "a\x00b"},
        "json": {"metadata": '{"a": "\\u0000"}'},
        "null": {"model": None},
        "tenant": {"tenant_id": new_job_id()},
        "number": {"max_attempts": 2**40},
    }
    given = [jobs.new_job(tenant.id) for _ in range(20)]
    given[7] = replace(given[7], **broken[bad])

    outcomes = await asyncio.gather(*map(api_runtime.jobs.group_commit.insert, given), return_exceptions=True)

    assert isinstance(outcomes[7], asyncpg.DataError | asyncpg.IntegrityConstraintViolationError)
    assert [type(each) for number, each in enumerate(outcomes) if number != 7] == [Inserted] * 19
    assert await rows.count("jobs") == 19


async def test_many_submits_of_one_key_make_one_job(api_runtime: ApiRuntime, tenant: Tenant, rows: Rows) -> None:
    given = [jobs.new_job(tenant.id, idempotency_key="key", fingerprint=b"x") for _ in range(300)]

    outcomes = await asyncio.gather(*map(api_runtime.jobs.group_commit.insert, given))

    assert sum(isinstance(each, Inserted) for each in outcomes) == 1
    assert {each.job_id for each in outcomes if isinstance(each, KeyHeld)} == {given[0].id}
    assert await rows.count("jobs") == 1


async def test_a_job_asked_for_by_many_is_claimed_by_one(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, rows: Rows
) -> None:
    job = await jobs.submit(api_runtime.jobs, tenant.id)

    outcomes = await asyncio.gather(*(worker_runtime.jobs.group_commit.claim(job.id) for _ in range(50)))

    assert sum(isinstance(each, ClaimedJob) for each in outcomes) == 1
    assert (await rows.job(job.id))["worker_id"] == worker_runtime.jobs.leases.worker.id


async def test_a_database_that_sees_single_tenants_can_not_claim(api_runtime: ApiRuntime, tenant: Tenant) -> None:
    job = await jobs.submit(api_runtime.jobs, tenant.id)

    with pytest.raises(RuntimeError, match="fleet"):
        await api_runtime.jobs.group_commit.claim(job.id)


async def test_a_runtime_that_closes_finishes_what_it_took(
    settings: Settings, api_runtime: ApiRuntime, tenant: Tenant
) -> None:
    async with open_api(settings) as closing:
        group_commit = closing.jobs.group_commit
        submits = [asyncio.create_task(jobs.submit(closing.jobs, tenant.id)) for _ in range(100)]
        await asyncio.sleep(0)

    taken: list[JobRecord] = await asyncio.gather(*submits)
    found = await asyncio.gather(*(api_runtime.jobs.group_commit.read(job.id, tenant.id) for job in taken))
    assert all(found)
    with pytest.raises(GrouperClosed):
        await group_commit.read(taken[0].id, tenant.id)


async def test_a_row_that_somebody_holds_holds_up_nobody_else(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    """An operator's transaction has one of the rows: its run says so at once, and ends when the row is free."""
    claimed = []
    for _ in range(20):
        job = await jobs.submit(api_runtime.jobs, tenant.id)
        claimed.append(await worker_runtime.jobs.group_commit.claim(job.id))
    runs = [each for each in claimed if isinstance(each, ClaimedJob)]
    ends = [
        Change(each.id, tenant.id, transitions.fail(jobs.failure()), each.run_no, each.lease_token) for each in runs
    ]
    group_commit = worker_runtime.jobs.group_commit

    async with owner.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM jobs WHERE id = $1 FOR UPDATE", runs[7].id)
        outcomes = await asyncio.gather(*map(group_commit.apply, ends), return_exceptions=True)

    assert isinstance(outcomes.pop(7), RowLocked)
    assert all(isinstance(outcome, Applied) for outcome in outcomes)
    assert isinstance(await group_commit.apply(ends[7]), Applied)
    assert await group_commit.apply(ends[7]) is None
