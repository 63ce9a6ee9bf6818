"""The guarded change: applied to a job that is where it is believed to be, and otherwise nothing at all is written."""

import asyncio
from typing import Any

import asyncpg
import pytest

from core.db.engine import Database
from core.db.session import hot_transaction
from core.domain import transitions
from core.domain.ids import JobId, LeaseToken, new_job_id, new_uuid
from core.domain.job_state import JobState
from core.domain.transitions import Transition
from core.jobs import store
from core.jobs.records import Applied, Change, ClaimedJob, RowLocked, Run
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support import jobs
from tests.support.tenants import Tenant

FAILURE = jobs.failure()
# constructor → the states that it may leave; written here a second time on purpose
FROM: dict[str, tuple[Transition, set[str]]] = {
    "succeed": (transitions.succeed(jobs.answer()), {"running"}),
    "retry_later": (transitions.retry_later(FAILURE, 5.0), {"running"}),
    "snooze": (transitions.snooze(FAILURE, 5.0), {"running"}),
    "fail": (transitions.fail(FAILURE), {"running"}),
    "cancel": (transitions.cancel(), {"queued", "running"}),
    "expire": (transitions.expire(), {"queued", "running"}),
    "rescue": (transitions.rescue(0, call_went_out=True, attempts_left=True), {"running"}),
    "rescue to failed": (transitions.rescue(1, call_went_out=True, attempts_left=True), {"running"}),
    "retry": (transitions.retry(), {"failed", "cancelled", "expired"}),
}


def change(job_id: JobId, tenant: Tenant, transition: Transition, **more: Any) -> Change:
    """With everything that a change may write: a result when it succeeds."""
    if transition.result is not None:
        more.setdefault("output", jobs.UNSEALED_OUTPUT)
    return Change(job_id, tenant.id, transition, **more)


async def apply(database: Database, *changes: Change) -> list[Applied | RowLocked | None]:
    async with hot_transaction(database, [each.tenant_id for each in changes]) as connection:
        return await store.apply(connection, changes)


@pytest.fixture
async def running(fleet: Database, tenant: Tenant) -> ClaimedJob:
    """A job that a worker runs, with a webhook for whatever happens."""
    async with hot_transaction(fleet, None) as connection:
        job_id = await jobs.insert(
            connection, tenant.id, webhook_url="https://example.com/hook", webhook_events=jobs.EVERY_EVENT
        )
        (claimed,) = await jobs.claim(connection, [job_id])
        await store.mark_called(connection, [Run(job_id, tenant.id, 1)])
    return claimed


@pytest.mark.parametrize("state", JobState, ids=lambda state: state.value)
async def test_an_edge_is_taken_from_its_own_states_alone(
    database: Database, running: ClaimedJob, tenant: Tenant, owner: OwnerPool, rows: Rows, state: JobState
) -> None:
    for name, (transition, from_states) in FROM.items():
        await owner.execute("DELETE FROM results; DELETE FROM deliveries")
        await owner.execute(jobs.FORCE_STATE, state.value)
        before = await rows.everything()

        (applied,) = await apply(database, change(running.id, tenant, transition))

        assert (applied is not None) is (state in from_states), name
        if applied is None:
            assert await rows.everything() == before, name
        else:
            assert (await rows.job(running.id))["state"] == transition.to_state, name


EDGES_OF_A_RUN = ["succeed", "retry_later", "snooze", "fail"]


@pytest.mark.parametrize("edge", EDGES_OF_A_RUN)
@pytest.mark.parametrize("stale", ["run_no", "lease_token", "both"])
async def test_a_run_that_was_superseded_writes_nothing(
    database: Database, running: ClaimedJob, tenant: Tenant, rows: Rows, edge: str, stale: str
) -> None:
    run_no = running.run_no - 1 if stale in ("run_no", "both") else running.run_no
    token = LeaseToken(new_uuid()) if stale in ("lease_token", "both") else running.lease_token
    before = await rows.everything()

    outcome = await apply(database, change(running.id, tenant, FROM[edge][0], run_no=run_no, lease_token=token))

    assert outcome == [None]
    assert await rows.everything() == before


@pytest.mark.parametrize("edge", EDGES_OF_A_RUN)
async def test_a_run_under_its_number_and_token_is_heard(
    database: Database, running: ClaimedJob, tenant: Tenant, edge: str
) -> None:
    (applied,) = await apply(
        database,
        change(running.id, tenant, FROM[edge][0], run_no=running.run_no, lease_token=running.lease_token),
    )

    assert isinstance(applied, Applied)
    assert applied.version == running.version + 1
    assert len(applied.delivery_ids) == (edge in ("succeed", "fail"))


async def test_another_tenant_and_an_unknown_job_change_nothing(
    database: Database, running: ClaimedJob, other_tenant: Tenant, tenant: Tenant, rows: Rows
) -> None:
    before = await rows.everything()

    outcome = await apply(
        database,
        change(running.id, other_tenant, transitions.cancel()),
        change(new_job_id(), tenant, transitions.cancel()),
    )

    assert outcome == [None, None]
    assert await rows.everything() == before


async def test_of_two_changes_in_a_batch_the_first_is_applied(
    database: Database, running: ClaimedJob, tenant: Tenant, rows: Rows
) -> None:
    first, second = await apply(
        database,
        change(running.id, tenant, transitions.succeed(jobs.answer())),
        change(running.id, tenant, transitions.cancel()),
    )

    assert first is not None
    assert second is None
    assert (await rows.job(running.id))["state"] == "succeeded"
    assert [delivery["event_type"] for delivery in await rows.deliveries(running.id)] == ["job.succeeded"]


async def test_of_many_ends_at_once_exactly_one_happens(
    database: Database, fleet: Database, running: ClaimedJob, tenant: Tenant, rows: Rows
) -> None:
    ends = [FROM[name][0] for name in ("succeed", "fail", "cancel", "expire", "rescue to failed")] * 4

    outcomes = await asyncio.gather(
        *(apply(fleet if number % 2 else database, change(running.id, tenant, end)) for number, end in enumerate(ends))
    )

    (winner,) = [number for number, (applied,) in enumerate(outcomes) if isinstance(applied, Applied)]
    row = await rows.job(running.id)
    assert (row["state"], row["version"]) == (ends[winner].to_state, running.version + 1)
    assert len(await rows.deliveries(running.id)) == 1
    assert await rows.count("results") == (ends[winner].result is not None)


async def test_batches_in_any_order_do_not_deadlock(database: Database, fleet: Database, tenant: Tenant) -> None:
    async with hot_transaction(fleet, None) as connection:
        claimed = await jobs.claim(connection, [await jobs.insert(connection, tenant.id) for _ in range(60)])
    runs = [Run(each.id, each.tenant_id, each.run_no) for each in claimed]

    async def mark(backwards: bool) -> None:
        async with hot_transaction(fleet, None) as connection:
            await store.mark_called(connection, runs[::-1] if backwards else runs)

    async def end(backwards: bool) -> list[Applied | RowLocked | None]:
        changes = [change(each.id, tenant, transitions.cancel()) for each in claimed]
        return await apply(database, *(changes[::-1] if backwards else changes))

    outcomes = await asyncio.gather(
        *(mark(bool(turn % 2)) for turn in range(6)), *(end(bool(turn % 2)) for turn in range(4))
    )

    assert sum(isinstance(applied, Applied) for each in outcomes if each is not None for applied in each) == 60


async def test_all_of_a_change_is_written_or_nothing(
    database: Database, running: ClaimedJob, tenant: Tenant, rows: Rows
) -> None:
    before = await rows.everything()
    good = change(running.id, tenant, transitions.succeed(jobs.answer()))
    bad = change(new_job_id(), tenant, transitions.fail(jobs.failure(message="a\x00b")))

    with pytest.raises(asyncpg.DataError):
        await apply(database, good, bad)

    assert await rows.everything() == before
