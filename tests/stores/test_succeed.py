"""The narrow statement for an answer that nobody hears of: it writes what `apply` writes, under the same guards."""

from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from core.db.engine import Database
from core.db.session import hot_transaction
from core.domain import transitions
from core.domain.ids import JobId, LeaseToken, new_uuid
from core.domain.inference import Usage
from core.domain.run_again import DONE
from core.jobs import store
from core.jobs.finish import finish_job
from core.jobs.records import Applied, Change, ClaimedJob, Run
from core.runtime import ApiRuntime, WorkerRuntime
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support import jobs
from tests.support.tenants import Tenant

USAGE = Usage(input_tokens=7, output_tokens=3, cached_tokens=2, reasoning_tokens=1)
# What differs from run to run.
ITS_OWN = {"id", "job_id", "request", "created_at", "run_at", "started_at", "finished_at", "queue_ms", "called_at"}
ENDPOINT = """
INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret)
VALUES (gen_random_uuid(), $1, '', 'https://receiver.test/hook', '{job.succeeded}', '\\x00')
"""


async def start(fleet: Database, tenant: Tenant, *, called: bool = True) -> ClaimedJob:
    async with hot_transaction(fleet, None) as connection:
        job_id = await jobs.insert(connection, tenant.id)
        (claimed,) = await jobs.claim(connection, [job_id])
        if called:
            await store.mark_called(connection, [Run(job_id, tenant.id, 1)])
    return claimed


def success(job: ClaimedJob) -> Change:
    transition = transitions.succeed(jobs.answer(usage=USAGE))
    return Change(job.id, job.tenant_id, transition, job.run_no, job.lease_token, jobs.UNSEALED_OUTPUT)


async def succeed(fleet: Database, *changes: Change) -> list[Applied | None]:
    async with hot_transaction(fleet, None) as connection:
        return await store.succeed(connection, changes)


async def written(owner: OwnerPool, job_id: JobId) -> list[dict[str, object]]:
    found: list[asyncpg.Record] = []
    for query in ("jobs WHERE id", "attempts WHERE job_id", "results WHERE job_id"):
        found += await owner.fetch(f"SELECT * FROM {query} = $1", job_id)
    return [{name: value for name, value in row.items() if name not in ITS_OWN} for row in found]


@pytest.mark.parametrize("called", [True, False])
async def test_it_writes_what_apply_writes(fleet: Database, tenant: Tenant, owner: OwnerPool, called: bool) -> None:
    first, second = await start(fleet, tenant, called=called), await start(fleet, tenant, called=called)

    assert await succeed(fleet, success(first)) == [Applied(first.version + 1, ())]
    async with hot_transaction(fleet, None) as connection:
        assert await store.apply(connection, [success(second)]) == [Applied(second.version + 1, ())]

    assert await written(owner, first.id) == await written(owner, second.id)
    assert len(await written(owner, first.id)) == 3


@pytest.mark.parametrize("stale", ["run_no", "lease_token", "tenant"])
async def test_a_run_that_was_superseded_writes_nothing(
    fleet: Database, tenant: Tenant, other_tenant: Tenant, owner: OwnerPool, stale: str
) -> None:
    job, neighbour = await start(fleet, tenant), await start(fleet, tenant)
    late = {
        "run_no": replace(success(job), run_no=job.run_no - 1),
        "lease_token": replace(success(job), lease_token=LeaseToken(new_uuid())),
        "tenant": replace(success(job), tenant_id=other_tenant.id),
    }[stale]
    before = await written(owner, job.id)

    outcomes = await succeed(fleet, late, success(neighbour))

    assert outcomes == [None, Applied(neighbour.version + 1, ())]
    assert await written(owner, job.id) == before


async def test_two_ends_of_a_run_are_one(fleet: Database, tenant: Tenant) -> None:
    job = await start(fleet, tenant)

    assert await succeed(fleet, success(job), success(job)) == [Applied(job.version + 1, ()), None]


async def test_a_row_that_is_locked_is_left_alone(fleet: Database, tenant: Tenant) -> None:
    job = await start(fleet, tenant)

    async with hot_transaction(fleet, None) as connection:
        await store.hold(connection, tenant.id, [job.id])
        assert await succeed(fleet, success(job)) == [None]


async def test_who_began_to_listen_during_the_run_hears_of_its_end(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    job_id = (await jobs.submit(api_runtime.jobs, tenant.id)).id
    claimed = await worker_runtime.jobs.group_commit.claim(job_id)
    assert isinstance(claimed, ClaimedJob)
    assert not claimed.has_listeners
    await owner.execute(ENDPOINT, tenant.id)

    assert await finish_job(worker_runtime.jobs, claimed, transitions.succeed(jobs.answer())) == DONE

    (delivery,) = await rows.deliveries(job_id)
    assert delivery["event_type"] == "job.succeeded"


async def test_the_claim_says_whether_somebody_listens(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    async def listeners(**changes: Any) -> bool:
        job_id = (await jobs.submit(api_runtime.jobs, tenant.id, **changes)).id
        claimed = await worker_runtime.jobs.group_commit.claim(job_id)
        assert isinstance(claimed, ClaimedJob)
        return claimed.has_listeners

    assert not await listeners()
    assert await listeners(webhook_url="https://receiver.test/hook", webhook_events=("job.failed",))
    await owner.execute(ENDPOINT, tenant.id)
    assert await listeners()
