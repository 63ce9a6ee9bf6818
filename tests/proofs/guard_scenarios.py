"""One scenario for each guard: it holds only while the guard is there (tests/proofs/guards.py)."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from core.db.session import hot_transaction
from core.domain import transitions
from core.domain.errors import InvalidParameter
from core.domain.ids import LeaseToken
from core.domain.job_state import JobState
from core.domain.run_again import DONE
from core.jobs import execute, store
from core.jobs.cancel import cancel_jobs
from core.jobs.heartbeat import Lease, LeaseEnd, LeaseEnded
from core.jobs.prune import prune
from core.jobs.reconcile import Reconciler
from core.jobs.records import Applied, Change, ClaimedJob, JobKey, RowLocked
from core.jobs.sweep import expire_jobs, rescue_jobs
from core.queue.claims import Finished
from core.queue.enqueue import job_entry
from core.queue.keys import IN_PROGRESS, PAYLOAD, Lane, job_member
from core.settings import RetentionSettings
from core.webhooks.deliveries.records import ClaimedDelivery, Ended
from core.webhooks.egress.exchange import Timing
from tests.proofs.guard_stage import GuardStage
from tests.support.executing import execute_job
from tests.support.jobs import answer, failure
from tests.support.workers import keep_alive
from worker.tasks.sweep import repair

SUCCEED = transitions.succeed(answer())
HOOK = {"webhook_url": "https://receiver.test/hook", "webhook_events": ("job.succeeded", "job.cancelled")}


# Changes of a job


async def a_run_that_was_superseded_changes_nothing(stage: GuardStage) -> None:
    run = await stage.running()
    await stage.finish(run, transitions.retry_later(failure(), 0.0))
    await stage.claimed(run.id)
    assert await stage.apply(run, SUCCEED, run_no=run.run_no) is None


async def a_token_of_somebody_else_changes_nothing(stage: GuardStage) -> None:
    run = await stage.running()
    assert await stage.apply(run, SUCCEED, run_no=run.run_no, lease_token=LeaseToken(uuid4())) is None


async def a_job_that_ended_stays_so(stage: GuardStage) -> None:
    run = await stage.running()
    await stage.finish(run, SUCCEED)
    assert await stage.apply(run, transitions.cancel(), run_no=run.run_no) is None


async def only_one_of_two_ends_at_the_same_time_counts(stage: GuardStage) -> None:
    run = await stage.running()
    late = Change(run.id, run.tenant_id, SUCCEED, run_no=run.run_no, lease_token=run.lease_token)
    async with stage.transaction() as connection:
        await store.apply(connection, [Change(run.id, run.tenant_id, transitions.cancel(), run_no=run.run_no)])
        finishing = await stage.started(stage.in_transaction(late))
    assert not isinstance(await finishing, Applied)


async def the_outcome_of_an_earlier_run_is_not_rewritten(stage: GuardStage) -> None:
    run = await stage.running()
    await stage.finish(run, transitions.retry_later(failure(), 0.0))
    await cancel_jobs(stage.api.jobs, stage.tenant.id, [run.id])
    assert [attempt["outcome"] for attempt in await stage.attempts(run.id)] == ["retried"]


async def a_superseded_run_stores_no_answer(stage: GuardStage) -> None:
    run = await stage.running()
    await stage.finish(run, transitions.retry_later(failure(), 0.0))
    again = await stage.claimed(run.id)
    assert await stage.succeed(run, lease_token=again.lease_token) is None


async def a_token_of_somebody_else_stores_no_answer(stage: GuardStage) -> None:
    run = await stage.running()
    assert await stage.succeed(run, lease_token=LeaseToken(uuid4())) is None


async def a_success_waits_for_no_lock(stage: GuardStage) -> None:
    run = await stage.running()
    async with stage.transaction() as connection:
        await store.hold(connection, stage.tenant.id, [run.id])
        answering = await stage.started(stage.succeed(run))
    assert await answering is None


async def a_job_with_a_webhook_is_left_to_the_statement_that_publishes(stage: GuardStage) -> None:
    run = await stage.running(**HOOK)
    assert await stage.succeed(run) is None


async def a_job_of_a_tenant_with_an_endpoint_is_left_to_it_as_well(stage: GuardStage) -> None:
    run = await stage.running()
    await stage.owner.execute(
        "INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret)"
        " VALUES (gen_random_uuid(), $1, '', 'https://receiver.test/hook', '{job.succeeded}', '\\x00')",
        stage.tenant.id,
    )
    assert await stage.succeed(run) is None


async def a_success_leaves_earlier_attempts_as_they_were(stage: GuardStage) -> None:
    run = await stage.running()
    await stage.finish(run, transitions.retry_later(failure(), 0.0))
    await stage.succeed(await stage.claimed(run.id))
    assert [attempt["outcome"] for attempt in await stage.attempts(run.id)] == ["retried", "succeeded"]


async def a_cancel_holds_the_row_until_it_has_answered(stage: GuardStage) -> None:
    run = await stage.running()
    end = Change(run.id, run.tenant_id, SUCCEED, run_no=run.run_no, lease_token=run.lease_token)
    async with hot_transaction(stage.api.database, [stage.tenant.id]) as connection:
        held = await store.hold(connection, stage.tenant.id, [run.id])
        outcome = await stage.in_transaction(end)
    assert held[run.id].state is JobState.RUNNING
    assert isinstance(outcome, RowLocked)


async def a_worker_changes_the_named_tenants_jobs_only(stage: GuardStage) -> None:
    """A worker's connection sees all tenants: there only the statement keeps them apart."""
    job_id = await stage.submit()
    async with stage.transaction() as connection:
        assert await store.hold(connection, stage.other_tenant.id, [job_id]) == {}


async def a_query_without_where_sees_no_other_tenants_jobs(stage: GuardStage) -> None:
    await stage.submit()
    async with hot_transaction(stage.api.database, [stage.other_tenant.id]) as connection:
        assert await connection.fetchval("SELECT count(*) FROM jobs") == 0


async def a_job_that_waits_is_not_deleted(stage: GuardStage) -> None:
    job_id = await stage.submit()
    async with stage.transaction() as connection:
        assert await store.delete(connection, [JobKey(job_id, stage.tenant.id)]) == 0


# Claims


async def a_running_job_is_not_claimed(stage: GuardStage) -> None:
    run = await stage.running()
    assert await stage.claim(run.id) is None


async def two_claims_at_the_same_time_give_one_run(stage: GuardStage) -> None:
    job_id = await stage.submit()

    for worker_id in ("first", "second"):
        await keep_alive(stage.owner, worker_id)

    async def claim() -> object:
        async with stage.transaction() as connection:
            return (await store.claim(connection, [job_id], worker_id="second"))[0]

    async with stage.transaction() as connection:
        (first,) = await store.claim(connection, [job_id], worker_id="first")
        second = await stage.started(claim())
    assert isinstance(first, ClaimedJob)
    assert await second is None


async def a_job_waits_for_its_time(stage: GuardStage) -> None:
    job_id = await stage.submit(run_at=datetime.now(UTC) + timedelta(hours=1))
    assert await stage.claim(job_id) is None


async def a_job_past_its_deadline_does_not_start(stage: GuardStage) -> None:
    job_id = await stage.submit(deadline_seconds=3600.0)
    await stage.set(job_id, "deadline_at = now() - interval '1 s'")
    assert await stage.claim(job_id) is None


async def a_run_that_is_over_calls_nobody(stage: GuardStage) -> None:
    run = await stage.running()
    await cancel_jobs(stage.api.jobs, stage.tenant.id, [run.id])
    assert not await stage.called(run)


async def a_worker_that_learns_of_it_makes_no_call(stage: GuardStage) -> None:
    run = await stage.running()
    await cancel_jobs(stage.api.jobs, stage.tenant.id, [run.id])
    with suppress(LeaseEnded):
        await execute._announce_call(stage.worker.jobs, run, Lease(run, stage.worker.jobs.leases.worker))
        raise AssertionError("the call went out")


async def a_spooled_answer_is_used(stage: GuardStage) -> None:
    run = await stage.running()
    await stage.called(run)
    await stage.worker.jobs.spool.put(run, answer("kept"))
    await stage.lapse(run.id)
    await rescue_jobs(stage.worker.jobs)
    await execute_job(stage.worker.jobs, run.id)
    job = await stage.api.jobs.group_commit.read(run.id, stage.tenant.id)
    assert job is not None
    assert job.output is not None
    assert job.output["text"] == "kept"


# Leases


async def a_lost_lease_closes_the_call(stage: GuardStage) -> None:
    run = await stage.running()
    leases = stage.worker.jobs.leases
    async with leases.hold(run) as lease:
        await cancel_jobs(stage.api.jobs, stage.tenant.id, [run.id])
        await leases.check([run.id])
        assert lease.ended is LeaseEnd.LOST


async def no_call_begins_when_the_lease_may_be_over(stage: GuardStage) -> None:
    worker = stage.worker.jobs.leases.worker
    lease = Lease(await stage.running(), replace(worker, valid_until=asyncio.get_running_loop().time() - 0.001))
    calling = asyncio.create_task(execute._announce_call(stage.worker.jobs, lease.job, lease))
    done, _ = await asyncio.wait([calling], timeout=0.5)
    calling.cancel()
    assert not done, "the call went out"


async def a_job_under_a_live_lease_is_not_rescued(stage: GuardStage) -> None:
    run = await stage.running()
    await rescue_jobs(stage.worker.jobs)
    assert (await stage.row(run.id))["state"] == "running"


async def a_job_that_loses_two_workers_fails(stage: GuardStage) -> None:
    job_id = await stage.submit(max_attempts=5)
    for _ in range(2):
        await stage.called(await stage.claimed(job_id))
        await stage.lapse(job_id)
        await rescue_jobs(stage.worker.jobs)
    assert (await stage.row(job_id))["error_code"] == "worker_lost"


async def a_job_that_was_not_called_keeps_its_attempt(stage: GuardStage) -> None:
    run = await stage.running(max_attempts=1)
    await stage.lapse(run.id)
    await rescue_jobs(stage.worker.jobs)
    job = await stage.row(run.id)
    assert (job["state"], job["attempts_used"], job["worker_losses"]) == ("queued", 0, 0)


# The sweep


async def the_sweep_rescues_a_dead_workers_job(stage: GuardStage) -> None:
    run = await stage.running()
    await stage.lapse(run.id)
    await repair(stage.worker)
    assert (await stage.row(run.id))["state"] == "queued"


async def the_sweep_ends_what_is_past_its_deadline(stage: GuardStage) -> None:
    run = await stage.running(deadline_seconds=3600.0)
    await stage.set(run.id, "deadline_at = now() - interval '1 s'")
    await repair(stage.worker)
    assert (await stage.row(run.id))["state"] == "expired"


async def a_deadline_ahead_ends_nothing(stage: GuardStage) -> None:
    run = await stage.running(deadline_seconds=3600.0)
    await expire_jobs(stage.worker.jobs)
    assert (await stage.row(run.id))["state"] == "running"


async def what_redis_lost_is_enqueued_again(stage: GuardStage) -> None:
    job_id = await stage.submit()
    await stage.enqueued()
    await stage.worker.redis.delete(stage.worker.keys.lane(Lane.STANDARD))
    await Reconciler(stage.worker.jobs).reconcile()
    assert await stage.worker.redis.zscore(stage.worker.keys.lane(Lane.STANDARD), job_member(job_id)) is not None


# Submits


async def a_key_that_is_held_makes_no_second_job(stage: GuardStage) -> None:
    first = await stage.submit(idempotency_key="key", fingerprint=b"same")
    assert await stage.submit(idempotency_key="key", fingerprint=b"same") == first
    assert await stage.owner.fetchval("SELECT count(*) FROM jobs") == 1


async def a_key_with_another_body_is_refused(stage: GuardStage) -> None:
    await stage.submit(idempotency_key="key", fingerprint=b"one")
    with suppress(InvalidParameter):
        await stage.submit(idempotency_key="key", fingerprint=b"two")
        raise AssertionError("the key named a job with another body")


# Webhooks and retention


async def a_delivery_has_one_sender(stage: GuardStage) -> None:
    sent = await _sent(stage)
    assert not isinstance(await stage.worker.deliveries.claim(sent.id), ClaimedDelivery)


async def a_sender_that_lost_its_lease_records_nothing(stage: GuardStage) -> None:
    sent = await _sent(stage)
    late = Ended(replace(sent, lease_token=LeaseToken(uuid4())), "delivered", datetime.now(UTC), Timing(), status=200)
    assert not await stage.worker.deliveries.record(late)


async def a_job_is_kept_until_its_webhook_was_sent(stage: GuardStage) -> None:
    sent = await _sent(stage)
    await prune(stage.worker.jobs, RetentionSettings(succeeded_days=1e-12, failed_days=1e-12))
    assert await stage.owner.fetchval("SELECT count(*) FROM jobs WHERE id = $1", sent.job_id) == 1


# Redis


async def a_member_that_is_held_is_not_claimed(stage: GuardStage) -> None:
    """As a stock arq worker holds it: with the key alone, and the member still due."""
    member = job_member(await stage.submit())
    await stage.enqueued()
    await stage.worker.redis.set(IN_PROGRESS + member, b"1", px=30_000)
    acquired = (await stage.holds().claim([5, 5, 5])).acquired
    assert acquired == []


async def a_claimed_member_is_not_due(stage: GuardStage) -> None:
    """Of a stock arq worker too, which looks at the score first."""
    member = job_member(await stage.submit())
    await stage.enqueued()
    await stage.holds().claim([5, 5, 5])
    score = await stage.worker.redis.zscore(stage.worker.keys.lane(Lane.STANDARD), member)
    seconds, _ = await stage.worker.redis.time()
    assert score is not None
    assert score > (seconds + 10) * 1000


async def a_hold_that_was_lost_finishes_nothing(stage: GuardStage) -> None:
    member = job_member(await stage.submit())
    await stage.enqueued()
    (mine,) = (await stage.holds().claim([5, 5, 5])).acquired
    await stage.holds().finish([Finished(replace(mine, token="of somebody else"), DONE)])
    assert await stage.worker.redis.exists(IN_PROGRESS + member)


async def a_hold_that_was_lost_is_not_renewed(stage: GuardStage) -> None:
    await stage.submit()
    await stage.enqueued()
    (mine,) = (await stage.holds().claim([5, 5, 5])).acquired
    assert await stage.holds().renew([replace(mine, token="of somebody else")]) == 0


async def a_job_enqueued_twice_waits_once(stage: GuardStage) -> None:
    job_id = await stage.submit()
    await stage.enqueued()
    for _ in range(3):
        await stage.api.jobs.enqueuer.enqueue_now([job_entry(job_id, Lane.STANDARD)])
    assert await stage.worker.redis.zcard(stage.worker.keys.lane(Lane.STANDARD)) == 1


async def enqueuing_takes_a_job_from_a_dead_worker(stage: GuardStage) -> None:
    job_id = await stage.submit()
    await stage.enqueued()
    await stage.holds().claim([5, 5, 5])
    await stage.api.jobs.enqueuer.enqueue_now([job_entry(job_id, Lane.STANDARD)])
    acquired = (await stage.holds().claim([5, 5, 5])).acquired
    assert [each.member for each in acquired] == [job_member(job_id)]


async def a_payload_does_not_stay_for_ever(stage: GuardStage) -> None:
    member = job_member(await stage.submit())
    await stage.enqueued()
    assert await stage.worker.redis.pttl(PAYLOAD + member) > 0


async def a_hold_does_not_stay_for_ever(stage: GuardStage) -> None:
    member = job_member(await stage.submit())
    await stage.enqueued()
    await stage.holds().claim([5, 5, 5])
    assert await stage.worker.redis.pttl(IN_PROGRESS + member) > 0


async def a_hold_that_has_no_end_gets_one(stage: GuardStage) -> None:
    """Whoever wrote it, the job would wait for ever."""
    member = job_member(await stage.submit())
    await stage.enqueued()
    await stage.worker.redis.set(IN_PROGRESS + member, b"1")
    await stage.holds().claim([5, 5, 5])
    assert await stage.worker.redis.pttl(IN_PROGRESS + member) > 0


async def _sent(stage: GuardStage) -> ClaimedDelivery:
    """A delivery whose sender is at work."""
    applied = await stage.end(await stage.running(**HOOK))
    claimed = await stage.worker.deliveries.claim(applied.delivery_ids[0])
    assert isinstance(claimed, ClaimedDelivery)
    return claimed
