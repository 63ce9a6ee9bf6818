"""Reading: whole jobs, lists page by page without gaps or repeats, filters, and what is gone."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from core.db.engine import Database
from core.db.sealed import make_sealer
from core.db.session import hot_transaction, reading
from core.domain import transitions
from core.domain.errors import Gone, JobUnreadable, NotFound
from core.domain.ids import JobId, new_job_id, uuid_at
from core.domain.job_state import JobState, Priority
from core.jobs import queries, store
from core.jobs.delete import delete_job
from core.jobs.queries import JobFilter
from core.jobs.records import Change, JobKey, JobRecord, JobSummary
from core.runtime import ApiRuntime
from tests.conftest import OwnerPool
from tests.support import jobs
from tests.support.tenants import Tenant

EVERYTHING = JobFilter()


async def listed(
    database: Database,
    tenant: Tenant,
    wanted: JobFilter = EVERYTHING,
    *,
    before: JobId | None = None,
    limit: int = 100,
) -> list[JobSummary]:
    async with reading(database, tenant.id) as session:
        page = await queries.list_jobs(session, tenant.id, wanted, before=before, limit=limit)
    assert len(page.items) == limit or not page.has_more
    return list(page.items)


async def insert(database: Database, tenant: Tenant, count: int = 1, **changes: object) -> list[JobId]:
    async with hot_transaction(database, [tenant.id]) as connection:
        return [await jobs.insert(connection, tenant.id, **changes) for _ in range(count)]


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
async def test_pages_have_no_gaps_and_no_repeats_while_jobs_arrive(
    database: Database, tenant: Tenant, other_tenant: Tenant, limit: int
) -> None:
    made = await insert(database, tenant, 10)
    await insert(database, other_tenant, 3)
    seen: list[JobId] = []

    while page := await listed(database, tenant, before=seen[-1] if seen else None, limit=limit):
        assert len(page) <= limit
        seen += [job.id for job in page]
        # Newer jobs come before the first page, so the pages behind it don't move.
        await insert(database, tenant)

    assert seen == made[::-1]


async def test_a_summary_is_the_job_without_what_is_large(database: Database, fleet: Database, tenant: Tenant) -> None:
    (job_id,) = await insert(database, tenant, priority=Priority.BATCH, metadata='{"a": "b"}', max_attempts=3)
    async with hot_transaction(fleet, None) as connection:
        await jobs.claim(connection, [job_id])
        await store.apply(
            connection, [Change(job_id, tenant.id, transitions.succeed(jobs.answer()), output=jobs.UNSEALED_OUTPUT)]
        )

    (summary,) = await listed(database, tenant)

    assert (summary.id, summary.state, summary.model) == (job_id, JobState.SUCCEEDED, "echo/echo")
    assert (summary.metadata, summary.priority) == ({"a": "b"}, Priority.BATCH)
    assert (summary.max_attempts, summary.attempts_used) == (3, 1)
    assert (summary.input_tokens, summary.output_tokens, summary.error_code) == (7, 3, None)
    assert summary.finished_at is not None
    assert summary.queue_ms is not None


async def test_filters_narrow_and_add_up(database: Database, tenant: Tenant, owner: OwnerPool) -> None:
    (slow,) = await insert(database, tenant, model="echo/slow", metadata='{"team": "a", "run": "1"}')
    (failed,) = await insert(database, tenant, metadata='{"team": "a", "run": "2"}')
    (cancelled,) = await insert(database, tenant, metadata='{"team": "b"}')
    for job_id, state in ((failed, "failed"), (cancelled, "cancelled")):
        await owner.execute(jobs.FORCE_STATE.replace("WHERE true", "WHERE id = $2"), state, job_id)

    async def found(**given: object) -> set[JobId]:
        return {job.id for job in await listed(database, tenant, JobFilter(**given))}  # type: ignore[arg-type]  # by name

    assert await found() == {slow, failed, cancelled}
    assert await found(states=(JobState.FAILED,)) == {failed}
    assert await found(states=(JobState.FAILED, JobState.CANCELLED)) == {failed, cancelled}
    assert await found(states=(JobState.RUNNING,)) == set()
    assert await found(model="echo/slow") == {slow}
    assert await found(model="echo/SLOW") == set()
    assert await found(metadata=(("team", "a"),)) == {slow, failed}
    assert await found(metadata=(("team", "a"), ("run", "2"))) == {failed}
    assert await found(metadata=(("team", "a"), ("run", "3"))) == set()
    assert await found(metadata=(("team", "a"),), states=(JobState.QUEUED,), model="echo/slow") == {slow}


async def test_a_range_of_time_has_its_beginning_and_not_its_end(
    database: Database, tenant: Tenant, owner: OwnerPool
) -> None:
    noon = datetime.fromisoformat("2026-03-04T12:00:00Z")
    made = []
    for hour in range(3):
        # The id is of a clock that is half an hour off: ids narrow what is looked at, and decide nothing.
        job_id = JobId(UUID(int=uuid_at(noon + timedelta(hours=hour, minutes=30 * (-1) ** hour)).int + hour))
        await insert(database, tenant, id=job_id)
        await owner.execute("UPDATE jobs SET created_at = $1 WHERE id = $2", noon + timedelta(hours=hour), job_id)
        made.append(job_id)

    wanted = JobFilter(created_after=noon + timedelta(hours=1), created_before=noon + timedelta(hours=2))

    assert [job.id for job in await listed(database, tenant, wanted)] == [made[1]]
    assert len(await listed(database, tenant, JobFilter(created_after=noon))) == 3
    assert len(await listed(database, tenant, JobFilter(created_before=noon))) == 0
    assert [job.id for job in await listed(database, tenant, JobFilter(created_after=noon), before=made[1])] == [
        made[0]
    ]


@pytest.mark.parametrize("value", ["'; DROP TABLE jobs; --", '"', "\\", "%", "_", "{}", "ünï\U0001f600", " ", ""])
async def test_any_text_is_a_value_and_nothing_else(database: Database, tenant: Tenant, value: str) -> None:
    (job_id,) = await insert(database, tenant, metadata=orjson.dumps({"key": value, value: "x"}).decode())

    for wanted in (JobFilter(metadata=(("key", value),)), JobFilter(metadata=((value, "x"),))):
        assert [job.id for job in await listed(database, tenant, wanted)] == [job_id]
    assert await listed(database, tenant, JobFilter(model=value)) == []
    assert await listed(database, tenant, JobFilter(metadata=(("key", value + "x"),))) == []


async def test_ids_alone_are_listed_alike(database: Database, tenant: Tenant) -> None:
    made = await insert(database, tenant, 5)

    async with reading(database, tenant.id) as session:
        page = await queries.list_ids(session, tenant.id, EVERYTHING, before=made[3], limit=2)

    assert page == [made[2], made[1]]


async def test_whole_jobs_come_in_the_order_asked_and_for_their_tenant(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    first, second = await insert(database, tenant, 2)
    (foreign,) = await insert(database, other_tenant)
    wanted = [
        (second, tenant.id),
        (foreign, tenant.id),
        (first, tenant.id),
        (first, other_tenant.id),
        (second, tenant.id),
    ]

    async with hot_transaction(database, [tenant.id, other_tenant.id]) as connection:
        found = await queries.get_many(connection, make_sealer(None), [JobKey(*each) for each in wanted])

    assert [job.id if isinstance(job, JobRecord) else job for job in found] == [second, None, first, None, second]


async def test_a_row_that_can_not_be_read_is_nobody_elses_trouble(
    api_runtime: ApiRuntime, database: Database, tenant: Tenant, other_tenant: Tenant, owner: OwnerPool
) -> None:
    """Sealed with another master key, or cut by a partial restore: its reader is told so, all others read on."""
    sealed, damaged, good = [(await jobs.submit(api_runtime.jobs, tenant.id)).id for _ in range(3)]
    theirs = (await jobs.submit(api_runtime.jobs, other_tenant.id)).id
    await owner.execute("UPDATE jobs SET request = $1 WHERE id = $2", bytes([1]) * 40, sealed)
    await owner.execute("UPDATE jobs SET request = $1 WHERE id = $2", b"\x00{", damaged)
    read = api_runtime.jobs.group_commit.read
    wanted = [(sealed, tenant.id), (damaged, tenant.id), (good, tenant.id), (theirs, other_tenant.id)]

    found = await asyncio.gather(*(read(*each) for each in wanted), return_exceptions=True)

    assert [each.code if isinstance(each, JobUnreadable) else each and each.id for each in found] == [  # type: ignore[union-attr]
        "job_unreadable", "job_unreadable", good, theirs,
    ]  # fmt: skip
    assert {job.id for job in await listed(database, tenant)} == {sealed, damaged, good}


async def test_a_missing_job_is_gone_or_never_was(
    api_runtime: ApiRuntime, database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    job = await jobs.submit(api_runtime.jobs, tenant.id)
    await delete_job(api_runtime.jobs, tenant.id, job.id)

    async def why(asker: Tenant, job_id: JobId) -> type[Exception]:
        async with reading(database, asker.id) as session:
            return type(await queries.why_missing(session, asker.id, job_id))

    assert await why(tenant, job.id) is Gone
    # Somebody else learns nothing of it.
    assert await why(other_tenant, job.id) is NotFound
    assert await why(tenant, new_job_id()) is NotFound


async def test_what_was_just_submitted_reads_as_it_was_answered(api_runtime: ApiRuntime, tenant: Tenant) -> None:
    """The answer to a submit is put together without asking PostgreSQL again: it must be what PostgreSQL would say."""
    given: list[dict[str, Any]] = [
        {},
        {"priority": Priority.INTERACTIVE, "deadline_seconds": 60.0, "timeout_seconds": 5.0, "max_attempts": 2},
        {"metadata": {"a": "ü\U0001f600"}, "params": {"temperature": 0.5}},
        {"webhook_url": "https://example.com/", "webhook_events": ("job.failed",)},
        {"webhook_events": ("job.failed",)},
    ]

    answered = await asyncio.gather(*(jobs.submit(api_runtime.jobs, tenant.id, **each) for each in given))

    for job in answered:
        assert await api_runtime.jobs.group_commit.read(job.id, tenant.id) == job


async def test_all_that_one_request_reads_is_of_one_moment(database: Database, tenant: Tenant) -> None:
    (job_id,) = await insert(database, tenant)
    async with reading(database, tenant.id) as session:
        before = await queries.list_jobs(session, tenant.id, EVERYTHING, before=None, limit=10)
        await insert(database, tenant)
        after = await queries.list_jobs(session, tenant.id, EVERYTHING, before=None, limit=10)
    assert [job.id for job in before.items] == [job.id for job in after.items] == [job_id]
