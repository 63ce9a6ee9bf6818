"""Inserting jobs: rows as they were given, and one job for an idempotency key whoever comes at the same time."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from core.db.engine import Database
from core.db.session import hot_transaction
from core.domain.ids import JobId
from core.domain.job_state import JobState, Priority
from core.jobs import store
from core.jobs.records import Inserted, KeyHeld, NewJob
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support.jobs import new_job
from tests.support.tenants import Tenant
from tests.support.waiting import eventually

HOUR = 3600.0


async def insert(database: Database, *jobs: NewJob, key_seconds: float = HOUR) -> list[Inserted | KeyHeld]:
    async with hot_transaction(database, [job.tenant_id for job in jobs]) as connection:
        return await store.insert(connection, jobs, key_seconds=key_seconds)


def keyed(tenant: Tenant, key: str = "key", fingerprint: bytes = b"one") -> NewJob:
    return new_job(tenant.id, idempotency_key=key, fingerprint=fingerprint)


async def test_a_row_is_what_was_given(database: Database, tenant: Tenant, rows: Rows) -> None:
    job = new_job(
        tenant.id,
        model="echo/slow",
        request=b"\x00{}",
        metadata='{"a": "b"}',
        priority=Priority.BATCH,
        request_id="req_1",
        deadline_seconds=60.0,
        timeout_seconds=7.5,
        max_attempts=3,
        webhook_url="https://example.com/hook",
        webhook_events=("job.failed", "job.expired"),
    )

    (inserted,) = await insert(database, job)

    assert isinstance(inserted, Inserted)
    row = await rows.job(job.id)
    assert (row["tenant_id"], row["state"], row["version"], row["model"]) == (tenant.id, "queued", 1, "echo/slow")
    assert (row["request"], row["meta"], row["priority"]) == (b"\x00{}", '{"a": "b"}', "batch")
    assert (row["request_id"], row["timeout_seconds"], row["max_attempts"]) == ("req_1", 7.5, 3)
    assert (row["webhook_url"], row["webhook_events"]) == ("https://example.com/hook", ["job.failed", "job.expired"])
    assert (row["attempts_used"], row["run_no"], row["worker_losses"]) == (0, 0, 0)
    assert (row["created_at"], row["run_at"]) == (inserted.created_at, inserted.run_at)
    assert row["run_at"] == row["created_at"]
    assert row["deadline_at"] == inserted.deadline_at == row["created_at"] + timedelta(seconds=60)


async def test_a_job_may_wait_for_its_time_but_not_for_one_that_was(
    database: Database, tenant: Tenant, rows: Rows
) -> None:
    now = datetime.now(UTC)
    later, earlier = new_job(tenant.id, run_at=now + timedelta(hours=1)), new_job(tenant.id, run_at=now - timedelta(1))

    await insert(database, later, earlier)

    assert (await rows.job(later.id))["run_at"] == now + timedelta(hours=1)
    row = await rows.job(earlier.id)
    assert row["run_at"] == row["created_at"]


async def test_every_row_gets_its_own_answer_in_order(database: Database, tenant: Tenant, other_tenant: Tenant) -> None:
    first = keyed(tenant)
    await insert(database, first)
    batch = [new_job(tenant.id), keyed(tenant), keyed(other_tenant), keyed(tenant, "new"), keyed(tenant, "new", b"two")]

    outcomes = await insert(database, *batch)

    assert [type(outcome) for outcome in outcomes] == [Inserted, KeyHeld, Inserted, Inserted, KeyHeld]
    assert outcomes[1] == KeyHeld(first.id, b"one", JobState.QUEUED)
    assert outcomes[4] == KeyHeld(batch[3].id, b"one", JobState.QUEUED)


async def test_a_key_is_taken_by_one_of_many_at_once(
    database: Database, fleet: Database, tenant: Tenant, rows: Rows
) -> None:
    jobs = [keyed(tenant, fingerprint=bytes([number])) for number in range(24)]

    answers = await asyncio.gather(*(insert(database if number % 2 else fleet, job) for number, job in enumerate(jobs)))

    outcomes = dict(zip((job.id for job in jobs), (answer[0] for answer in answers), strict=True))
    (winner,) = [job_id for job_id, outcome in outcomes.items() if isinstance(outcome, Inserted)]
    held_by: set[JobId] = {outcome.job_id for outcome in outcomes.values() if isinstance(outcome, KeyHeld)}
    assert held_by == {winner}
    assert (await rows.count("jobs"), await rows.count("idempotency")) == (1, 1)


async def test_keys_are_taken_in_one_order_so_that_batches_can_not_deadlock(
    database: Database, fleet: Database, tenant: Tenant, owner: OwnerPool
) -> None:
    """Who has to wait for the first key has not taken the second, however the batch was ordered."""
    first, second, other = keyed(tenant, "a"), keyed(tenant, "b"), keyed(tenant, "b", b"two")
    async with owner.acquire() as connection:
        holder = connection.transaction()
        await holder.start()
        await connection.execute(
            "INSERT INTO idempotency VALUES ($1, 'a', '', gen_random_uuid(), now() + interval '1 h')", tenant.id
        )
        waiting = asyncio.create_task(insert(database, second, first))
        blocked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        await eventually(lambda: connection.fetchval(blocked), what="the batch waits for the first key")

        async with asyncio.timeout(10):
            (taken,) = await insert(fleet, other)
        assert isinstance(taken, Inserted)
        await holder.rollback()

    held, inserted = await waiting
    assert held == KeyHeld(other.id, b"two", JobState.QUEUED)
    assert isinstance(inserted, Inserted)


async def test_two_tenants_may_use_the_same_key(database: Database, tenant: Tenant, other_tenant: Tenant) -> None:
    assert all(isinstance(each, Inserted) for each in await insert(database, keyed(tenant), keyed(other_tenant)))


async def test_a_key_is_free_again_when_its_time_is_over(
    database: Database, tenant: Tenant, owner: OwnerPool, rows: Rows
) -> None:
    first, second, third = (keyed(tenant, fingerprint=bytes([number])) for number in range(3))
    await insert(database, first)
    await owner.execute("UPDATE idempotency SET expires_at = now() - interval '1 second'")

    (taken,) = await insert(database, second, key_seconds=60)
    (held,) = await insert(database, third)

    assert isinstance(taken, Inserted)
    assert held == KeyHeld(second.id, bytes([1]), JobState.QUEUED)
    seconds = await owner.fetchval("SELECT extract(epoch FROM expires_at - now())::float8 FROM idempotency")
    assert 50 < seconds <= 60
    assert await rows.count("jobs") == 2


async def test_what_is_rolled_back_leaves_its_key_free(database: Database, tenant: Tenant, rows: Rows) -> None:
    with pytest.raises(asyncpg.NotNullViolationError):
        await insert(database, keyed(tenant), new_job(tenant.id, model=None))

    assert (await rows.count("jobs"), await rows.count("idempotency")) == (0, 0)
    (inserted,) = await insert(database, keyed(tenant))
    assert isinstance(inserted, Inserted)


async def test_nothing_is_an_empty_batch(database: Database, tenant: Tenant) -> None:
    async with hot_transaction(database, [tenant.id]) as connection:
        assert await store.insert(connection, [], key_seconds=HOUR) == []
