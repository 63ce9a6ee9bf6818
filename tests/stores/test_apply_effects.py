"""What each edge writes: the job, its attempt, its result and its webhooks, in one statement."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from core.db.engine import Database
from core.db.session import hot_transaction
from core.domain import transitions
from core.domain.ids import new_uuid
from core.domain.inference import Usage
from core.domain.transitions import Transition
from core.jobs import store
from core.jobs.records import Applied, Change, ClaimedJob, Run
from tests.conftest import OwnerPool
from tests.stores.conftest import Rows
from tests.support import jobs
from tests.support.tenants import Tenant

HOOK = "https://example.com/hook"


async def start(fleet: Database, tenant: Tenant, *, called: bool = True, **changes: Any) -> ClaimedJob:
    """A job in its first run, whose call has gone out."""
    async with hot_transaction(fleet, None) as connection:
        job_id = await jobs.insert(connection, tenant.id, **changes)
        (claimed,) = await jobs.claim(connection, [job_id])
        if called:
            await store.mark_called(connection, [Run(job_id, tenant.id, 1)])
    return claimed


async def end(fleet: Database, job: ClaimedJob, transition: Transition) -> Applied:
    change = Change(
        job.id,
        job.tenant_id,
        transition,
        run_no=job.run_no,
        lease_token=job.lease_token,
        output=jobs.UNSEALED_OUTPUT if transition.result else None,
    )
    async with hot_transaction(fleet, None) as connection:
        (applied,) = await store.apply(connection, [change])
    assert isinstance(applied, Applied)
    return applied


async def test_a_success_stores_the_answer_the_usage_and_the_attempt(
    fleet: Database, tenant: Tenant, rows: Rows, owner: OwnerPool
) -> None:
    job = await start(fleet, tenant)
    usage = Usage(input_tokens=7, output_tokens=3, cached_tokens=2, reasoning_tokens=1)

    await end(fleet, job, transitions.succeed(jobs.answer(usage=usage)))

    row = await rows.job(job.id)
    assert (row["state"], row["version"], row["attempts_used"], row["run_no"]) == ("succeeded", 3, 1, 1)
    assert (row["lease_token"], row["lease_expires_at"], row["worker_id"]) == (None, None, None)
    assert (row["input_tokens"], row["output_tokens"]) == (7, 3)
    assert (row["error_class"], row["error_code"], row["error_message"]) == (None, None, None)
    assert row["finished_at"] > row["started_at"]
    result = await owner.fetchrow("SELECT * FROM results")
    assert result is not None
    assert (result["job_id"], result["tenant_id"], result["run_no"]) == (job.id, tenant.id, 1)
    assert result["output"] == jobs.UNSEALED_OUTPUT
    (attempt,) = await rows.attempts(job.id)
    assert (attempt["outcome"], attempt["billed"], attempt["provider_request_id"]) == ("succeeded", "yes", "req-1")
    assert attempt["finished_at"] == row["finished_at"]
    assert orjson.loads(attempt["usage"]) == {
        "input_tokens": 7, "output_tokens": 3, "cached_tokens": 2, "reasoning_tokens": 1,
    }  # fmt: skip


async def test_a_retry_waits_and_keeps_the_attempt_used(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    job = await start(fleet, tenant)

    await end(fleet, job, transitions.retry_later(jobs.failure(retry_after=9.0, billed="maybe"), 12.5))

    row = await rows.job(job.id)
    assert (row["state"], row["attempts_used"], row["run_no"], row["finished_at"]) == ("queued", 1, 1, None)
    assert (row["lease_token"], row["worker_id"]) == (None, None)
    # A job that goes on has no error of its own; its attempt has.
    assert (row["error_class"], row["error_code"], row["error_message"]) == (None, None, None)
    (attempt,) = await rows.attempts(job.id)
    assert row["run_at"] == attempt["finished_at"] + timedelta(seconds=12.5)
    assert (attempt["outcome"], attempt["error_class"], attempt["error_code"]) == (
        "retried", "unavailable", "provider_unavailable",
    )  # fmt: skip
    assert (attempt["http_status"], attempt["retry_after"], attempt["wait_seconds"]) == (503, 9.0, 12.5)
    assert (attempt["billed"], attempt["error_message"]) == ("maybe", "The provider is out of service.")


async def test_a_snooze_gives_the_attempt_back_but_not_the_run(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    job = await start(fleet, tenant)

    await end(fleet, job, transitions.snooze(jobs.failure(), 1.0))

    row = await rows.job(job.id)
    assert (row["state"], row["attempts_used"], row["run_no"]) == ("queued", 0, 1)
    assert (await rows.attempts(job.id))[0]["outcome"] == "snoozed"


async def run_again(fleet: Database, job: ClaimedJob, transition: Transition) -> ClaimedJob:
    """Ends the run, makes the job due and claims it."""
    await end(fleet, job, replace(transition, delay=0.0))
    async with hot_transaction(fleet, None) as connection:
        (claimed,) = await jobs.claim(connection, [job.id])
    return claimed


async def test_snoozes_in_a_row_are_counted_until_an_attempt_counts(
    fleet: Database, tenant: Tenant, rows: Rows, owner: OwnerPool
) -> None:
    snooze = transitions.snooze(jobs.failure(), 1.0)
    job = await start(fleet, tenant)
    assert (job.snoozes, job.snoozed_seconds) == (0, 0.0)
    job = await run_again(fleet, job, snooze)
    since = (await rows.job(job.id))["snoozed_since"]
    await owner.execute("UPDATE jobs SET snoozed_since = snoozed_since - interval '1 hour'")
    job = await run_again(fleet, job, snooze)
    # A worker that is stopped says nothing of the provider, and does not make the job start over.
    job = await run_again(fleet, job, transitions.snooze(jobs.failure(), 1.0, counts=False))
    assert job.snoozes == 2
    assert 3600 <= job.snoozed_seconds < 3700
    assert (await rows.job(job.id))["snoozed_since"] == since - timedelta(hours=1)

    job = await run_again(fleet, job, transitions.retry_later(jobs.failure(), 1.0))
    assert (job.snoozes, job.snoozed_seconds, (await rows.job(job.id))["snoozed_since"]) == (0, 0.0, None)


async def test_a_manual_retry_starts_to_wait_anew(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    job = await run_again(fleet, await start(fleet, tenant), transitions.snooze(jobs.failure(), 1.0))
    await end(fleet, job, transitions.fail(jobs.failure()))
    assert (await rows.job(job.id))["snoozes"] == 1

    async with hot_transaction(fleet, None) as connection:
        await store.apply(connection, [Change(job.id, tenant.id, transitions.retry())])

    row = await rows.job(job.id)
    assert (row["snoozes"], row["snoozed_since"]) == (0, None)


async def test_of_runs_that_were_snoozed_the_last_are_kept_and_of_the_others_all(
    fleet: Database, tenant: Tenant, rows: Rows
) -> None:
    job = await run_again(fleet, await start(fleet, tenant), transitions.retry_later(jobs.failure(), 1.0))
    async with hot_transaction(fleet, None) as connection:
        await store.mark_called(connection, [Run(job.id, tenant.id, 2)])
    job = await run_again(fleet, job, transitions.snooze(jobs.failure(billed="maybe"), 1.0))
    for _ in range(25):
        job = await run_again(fleet, job, transitions.snooze(jobs.failure(), 1.0))

    kept = {row["run_no"]: (row["outcome"], row["billed"]) for row in await rows.attempts(job.id)}

    assert job.run_no == 28
    assert kept[1] == ("retried", "no")
    # What may have been paid for is never forgotten.
    assert kept[2] == ("snoozed", "maybe")
    assert sorted(kept) == [1, 2, *range(8, 29)]


@pytest.mark.parametrize(
    ("transition", "state", "error_class", "error_code"),
    [
        (transitions.fail(jobs.failure()), "failed", "unavailable", "provider_unavailable"),
        (transitions.cancel(), "cancelled", "cancelled", "cancelled"),
        (transitions.expire(), "expired", "deadline", "deadline_exceeded"),
        (transitions.rescue(1, call_went_out=True, attempts_left=True), "failed", "worker_lost", "worker_lost"),
    ],
    ids=["fail", "cancel", "expire", "rescue"],
)
async def test_an_end_without_an_answer_says_why(
    fleet: Database, tenant: Tenant, rows: Rows, transition: Transition, state: str, error_class: str, error_code: str
) -> None:
    job = await start(fleet, tenant)

    await end(fleet, job, transition)

    row = await rows.job(job.id)
    assert (row["state"], row["error_class"], row["error_code"]) == (state, error_class, error_code)
    assert row["error_message"]
    assert row["finished_at"] is not None
    assert row["worker_losses"] == transition.loses_worker
    assert await rows.count("results") == 0
    assert (await rows.attempts(job.id))[0]["outcome"] == transition.attempt_outcome


async def test_a_call_that_never_went_out_was_not_billed(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    job = await start(fleet, tenant, called=False)

    await end(fleet, job, transitions.fail(jobs.failure(billed="yes")))

    assert (await rows.attempts(job.id))[0]["billed"] == "no"


async def test_a_rescue_counts_the_loss_and_the_run_goes_on(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    job = await start(fleet, tenant)

    await end(fleet, job, transitions.rescue(0, call_went_out=True, attempts_left=True))

    row = await rows.job(job.id)
    assert (row["state"], row["worker_losses"], row["attempts_used"]) == ("queued", 1, 1)
    assert (await rows.attempts(job.id))[0]["outcome"] == "unknown"


async def test_a_manual_retry_is_a_fresh_start_under_the_same_id(
    fleet: Database, tenant: Tenant, rows: Rows, owner: OwnerPool
) -> None:
    job = await start(fleet, tenant, deadline_seconds=60.0)
    await end(fleet, job, transitions.fail(jobs.failure()))
    await owner.execute("UPDATE jobs SET worker_losses = 1, run_at = now() - interval '1 hour'")

    async with hot_transaction(fleet, None) as connection:
        (applied,) = await store.apply(connection, [Change(job.id, tenant.id, transitions.retry())])

    assert applied is not None
    row = await rows.job(job.id)
    assert (row["state"], row["attempts_used"], row["run_no"], row["worker_losses"]) == ("queued", 0, 1, 0)
    assert (row["finished_at"], row["deadline_at"], row["error_code"]) == (None, None, None)
    assert row["run_at"] > row["created_at"]
    (attempt,) = await rows.attempts(job.id)
    assert attempt["outcome"] == "failed"


async def test_the_jobs_own_url_hears_of_the_events_it_asked_for(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    deaf = await start(fleet, tenant, webhook_url=HOOK, webhook_events=("job.failed", "job.expired"))
    told = await start(fleet, tenant, webhook_url=HOOK, webhook_events=("job.succeeded",))
    none = await start(fleet, tenant)

    applied = [await end(fleet, job, transitions.succeed(jobs.answer())) for job in (deaf, told, none)]

    assert [len(each.delivery_ids) for each in applied] == [0, 1, 0]
    (delivery,) = await rows.deliveries(told.id)
    assert (delivery["id"], delivery["tenant_id"], delivery["url"]) == (applied[1].delivery_ids[0], tenant.id, HOOK)
    assert (delivery["event_type"], delivery["endpoint_id"], delivery["state"]) == ("job.succeeded", None, "pending")
    assert (delivery["attempts"], delivery["lease_token"], delivery["delivered_at"]) == (0, None, None)
    body = orjson.loads(delivery["body"])
    assert (body["type"], body["data"]["job_id"]) == ("job.succeeded", f"job_{told.id.hex}")
    assert body["id"] == f"evt_{delivery['event_id'].hex}"
    assert delivery["id"].version == 7


async def test_every_endpoint_of_the_tenant_hears_of_what_it_asked_for(
    fleet: Database, tenant: Tenant, other_tenant: Tenant, rows: Rows, owner: OwnerPool
) -> None:
    for name, owned_by, events, enabled in (
        ("all", tenant, jobs.EVERY_EVENT, True),
        ("failures", tenant, ("job.failed",), True),
        ("disabled", tenant, jobs.EVERY_EVENT, False),
        ("foreign", other_tenant, jobs.EVERY_EVENT, True),
    ):
        await owner.execute(
            "INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret, enabled)"
            " VALUES ($1, $2, $3, $4, $5, '', $6)",
            new_uuid(), owned_by.id, name, f"https://{name}.example/", list(events), enabled,
        )  # fmt: skip
    job = await start(fleet, tenant, webhook_url=HOOK, webhook_events=jobs.EVERY_EVENT)

    applied = await end(fleet, job, transitions.succeed(jobs.answer()))

    found = await rows.deliveries(job.id)
    deliveries = [delivery for delivery in found if delivery["state"] == "pending"]
    assert [delivery["url"] for delivery in deliveries] == ["https://all.example/", HOOK]
    assert {delivery["id"] for delivery in deliveries} == set(applied.delivery_ids)
    # Kept for when the endpoint is enabled and recovered.
    assert [each["url"] for each in found if each["state"] == "skipped"] == ["https://disabled.example/"]
    # One event, told to two: the same id and the same bytes, so that a receiver of both can tell.
    assert len({(delivery["event_id"], bytes(delivery["body"])) for delivery in deliveries}) == 1


async def test_what_an_answer_cost_that_came_too_late_is_kept(fleet: Database, tenant: Tenant, rows: Rows) -> None:
    cancelled, succeeded = await start(fleet, tenant), await start(fleet, tenant)
    await end(fleet, cancelled, transitions.cancel())
    await end(fleet, succeeded, transitions.succeed(jobs.answer()))
    late = jobs.answer(usage=Usage(input_tokens=99), provider_request_id="late")

    async with hot_transaction(fleet, None) as connection:
        for job in (cancelled, succeeded):
            await store.note_late_usage(connection, Run(job.id, job.tenant_id, job.run_no), late)

    (attempt,) = await rows.attempts(cancelled.id)
    assert (attempt["outcome"], attempt["billed"], attempt["provider_request_id"]) == ("cancelled", "yes", "late")
    assert orjson.loads(attempt["usage"])["input_tokens"] == 99
    assert (await rows.attempts(succeeded.id))[0]["provider_request_id"] == "req-1"
    assert (await rows.job(cancelled.id))["input_tokens"] is None
