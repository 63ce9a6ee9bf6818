"""The claim edge: exactly one of any number gets a job, and only one that is due."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from core.db.engine import Database
from core.db.session import hot_transaction
from core.domain.ids import JobId, new_job_id
from core.domain.job_state import Priority
from core.jobs import store
from core.jobs.records import ClaimedJob, NotDue, Run
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support import jobs
from tests.support.tenants import Tenant
from tests.support.workers import keep_alive


async def insert(fleet: Database, tenant: Tenant, **changes: object) -> JobId:
    async with hot_transaction(fleet, None) as connection:
        return await jobs.insert(connection, tenant.id, **changes)


async def claim(fleet: Database, *job_ids: JobId, worker_id: str = "w") -> list[ClaimedJob | NotDue | None]:
    async with hot_transaction(fleet, None) as connection:
        await keep_alive(connection, worker_id)
        return await store.claim(connection, job_ids, worker_id=worker_id)


async def test_a_claim_says_all_that_a_run_needs(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    job_id = await insert(
        fleet, tenant, priority=Priority.INTERACTIVE, deadline_seconds=60.0, timeout_seconds=7.0, max_attempts=3
    )

    (claimed,) = await claim(fleet, job_id, worker_id="worker-7")

    assert isinstance(claimed, ClaimedJob)
    assert (claimed.id, claimed.tenant_id, claimed.model) == (job_id, tenant.id, "echo/echo")
    assert (claimed.request, claimed.priority) == (jobs.SEALED_REQUEST, Priority.INTERACTIVE)
    assert (claimed.version, claimed.run_no, claimed.attempts_used, claimed.max_attempts) == (2, 1, 1, 3)
    assert (claimed.follows_lost_run, claimed.timeout_seconds) == (False, 7.0)
    assert claimed.seconds_left is not None
    assert 50 < claimed.seconds_left <= 60
    assert 0 <= claimed.queue_seconds < 10

    row = await rows.job(job_id)
    assert (row["state"], row["lease_token"], row["worker_id"]) == ("running", claimed.lease_token, "worker-7")
    assert row["queue_ms"] == pytest.approx(claimed.queue_seconds * 1000, abs=1)
    (attempt,) = await rows.attempts(job_id)
    assert (attempt["run_no"], attempt["attempt"], attempt["provider"]) == (1, 1, "echo")
    assert (attempt["outcome"], attempt["worker_id"], attempt["billed"]) == ("running", "worker-7", "no")
    assert (attempt["called_at"], attempt["finished_at"]) == (None, None)


async def test_of_many_at_once_exactly_one_gets_each_job(
    fleet: Database, tenant: Tenant, rows: Rows, owner: OwnerPool
) -> None:
    job_ids = [await insert(fleet, tenant) for _ in range(40)]

    answers = await asyncio.gather(
        *(claim(fleet, *(job_ids if worker % 2 else reversed(job_ids)), worker_id=str(worker)) for worker in range(12))
    )

    got = Counter(each.id for answer in answers for each in answer if each is not None and isinstance(each, ClaimedJob))
    # A row that is being claimed is skipped, not waited for; who skipped it would be enqueued again.
    assert got == Counter(job_ids)
    assert await rows.count("attempts") == len(job_ids)
    assert await owner.fetchval("SELECT bool_and(run_no = 1 AND state = 'running') FROM jobs")
    tokens = {each.lease_token for answer in answers for each in answer if isinstance(each, ClaimedJob)}
    assert len(tokens) == len(job_ids)


async def test_a_job_that_is_asked_for_twice_in_a_batch_is_claimed_once(fleet: Database, tenant: Tenant) -> None:
    job_id = await insert(fleet, tenant)

    first, second = await claim(fleet, job_id, job_id)

    assert isinstance(first, ClaimedJob)
    assert second is None


async def test_a_job_whose_time_has_not_come_says_when(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    job_id = await insert(fleet, tenant, run_at=datetime.now(UTC) + timedelta(seconds=90))
    before = await rows.everything()

    (answer,) = await claim(fleet, job_id)

    assert isinstance(answer, NotDue)
    assert 80 < answer.seconds <= 90
    assert await rows.everything() == before


async def test_a_job_whose_deadline_passed_is_left_to_the_sweep(
    fleet: Database, tenant: Tenant, rows: Rows, owner: OwnerPool
) -> None:
    job_id = await insert(fleet, tenant, deadline_seconds=60.0)
    await owner.execute("UPDATE jobs SET deadline_at = now() - interval '1 ms'")
    before = await rows.everything()

    assert await claim(fleet, job_id) == [None]
    assert await rows.everything() == before


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "cancelled", "expired"])
async def test_only_a_queued_job_is_claimed(
    fleet: Database, tenant: Tenant, rows: Rows, owner: OwnerPool, state: str
) -> None:
    job_id = await insert(fleet, tenant)
    await owner.execute(jobs.FORCE_STATE, state)
    before = await rows.everything()

    assert await claim(fleet, job_id, new_job_id()) == [None, None]
    assert await rows.everything() == before


async def test_a_row_that_somebody_changes_is_not_waited_for(fleet: Database, tenant: Tenant, owner: OwnerPool) -> None:
    held, free = await insert(fleet, tenant), await insert(fleet, tenant)

    async with owner.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM jobs WHERE id = $1 FOR UPDATE", held)
        async with asyncio.timeout(5):
            nothing, claimed = await claim(fleet, held, free)

    assert nothing is None
    assert isinstance(claimed, ClaimedJob)
    assert isinstance((await claim(fleet, held))[0], ClaimedJob)


async def test_a_second_run_counts_on_and_keeps_what_was_first(
    fleet: Database, tenant: Tenant, rows: Rows, owner: OwnerPool
) -> None:
    job_id = await insert(fleet, tenant)
    (first,) = await claim(fleet, job_id)
    assert isinstance(first, ClaimedJob)
    started = (await rows.job(job_id))["started_at"], (await rows.job(job_id))["queue_ms"]
    await owner.execute(
        "UPDATE jobs SET state = 'queued', lease_token = NULL, worker_id = NULL, run_at = now(), queue_ms = 7"
    )

    (second,) = await claim(fleet, job_id)

    assert isinstance(second, ClaimedJob)
    assert (second.run_no, second.attempts_used) == (2, 2)
    assert second.lease_token != first.lease_token
    row = await rows.job(job_id)
    assert (row["started_at"], row["queue_ms"]) == (started[0], 7)
    assert [attempt["run_no"] for attempt in await rows.attempts(job_id)] == [1, 2]


async def test_a_call_is_marked_while_its_run_lasts(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    running, over = await insert(fleet, tenant), await insert(fleet, tenant)
    await claim(fleet, running, over)
    async with hot_transaction(fleet, None) as connection:
        await connection.execute("UPDATE attempts SET outcome = 'unknown', finished_at = now() WHERE job_id = $1", over)

        marked = await store.mark_called(
            connection,
            [Run(*run, 1) for run in ((running, tenant.id), (over, tenant.id), (new_job_id(), tenant.id))]
            + [Run(running, tenant.id, 2)],
        )

    assert marked == [True, False, False, False]
    assert [attempt["billed"] for attempt in await rows.attempts(running)] == ["maybe"]
    assert (await rows.attempts(running))[0]["called_at"] is not None
    assert (await rows.attempts(over))[0]["called_at"] is None


async def test_a_worker_has_the_runs_that_it_claimed_and_no_others(fleet: Database, tenant: Tenant) -> None:
    job_ids = [await insert(fleet, tenant) for _ in range(3)]
    async with hot_transaction(fleet, None) as connection:
        mine, ended = await jobs.claim(connection, job_ids[:2], worker_id="mine")
        await jobs.claim(connection, job_ids[2:], worker_id="of somebody else")
        await connection.execute(jobs.FORCE_STATE.replace("WHERE true", "WHERE id = $2"), "cancelled", ended.id)

        assert await store.runs_of_worker(connection, "mine") == {(mine.id, mine.run_no)}
        assert await store.runs_of_worker(connection, "mine", [ended.id]) == set()
