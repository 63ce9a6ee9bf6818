"""Failure windows that no other test is about, by their numbers in docs/operations/failure-windows.md."""

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from core.db.dedicated import DedicatedConnection
from core.db.grouping import Failed
from core.db.session import hot_transaction
from core.domain.clock import SystemClock
from core.domain.ids import JobId, show_job
from core.domain.run_again import DONE, After
from core.jobs.records import Run
from core.queue.keys import Lane
from core.webhooks.deliveries.deliver import deliver_webhook
from core.webhooks.deliveries.records import ClaimedDelivery, Ended
from core.webhooks.egress.exchange import Timing
from tests.proofs.deaths import (
    post,
    steps_of_a_worker,
    steps_of_an_api,
    submission,
    submit_to_a_dying_api,
    submit_to_a_dying_worker,
)
from tests.proofs.edges import Mishap, Plan, watch_edges
from tests.proofs.fault_stage import FaultStage
from tests.proofs.fork_server import ForkServer
from tests.proofs.fresh import fresh_worker
from tests.proofs.lapse import lapse_leases
from tests.proofs.one_job import submit_one
from tests.support.executing import execute_job
from tests.support.processes import serve_api
from tests.support.waiting import eventually

IN_FIVE_MINUTES = "SELECT now() + interval '5 minutes'"


async def test_f01_the_api_dies_before_its_commit(stage: FaultStage, fork_server: ForkServer) -> None:
    """There is no job, and asking again makes one."""
    commit = _of(await steps_of_an_api(stage, fork_server), "flush-insert", "COMMIT")
    known = len((await stage.evidence()).view.jobs)
    await submit_to_a_dying_api(stage, fork_server, "f01", commit, Mishap.DIES_BEFORE)
    assert len((await stage.evidence()).view.jobs) == known
    async with serve_api(stage.settings) as healthy:
        job_id = await post(stage, healthy.url, "f01")
    await _ends_well(stage, job_id, calls=1)


async def test_f02_the_api_dies_between_its_commit_and_the_ring(stage: FaultStage, fork_server: ForkServer) -> None:
    commit = _of(await steps_of_an_api(stage, fork_server), "flush-insert", "COMMIT")
    known = set((await stage.evidence()).view.jobs)
    await submit_to_a_dying_api(stage, fork_server, "f02", commit, Mishap.DIES_AFTER)
    (job_id,) = set((await stage.evidence()).view.jobs) - known
    await _ends_well(stage, JobId(job_id), calls=1)


async def test_f03_the_answer_to_a_submit_is_lost(stage: FaultStage) -> None:
    """The client hangs up before it has the answer; the same key names the same job."""
    headers, body = submission(stage, "f03")
    async with serve_api(stage.settings) as api:
        host, _, port = api.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as client:
            await asyncio.to_thread(client.sendall, _request(headers, body))
            jobs = await eventually(lambda: _jobs(stage), what="the job is committed")
        assert [await post(stage, api.url, "f03")] == jobs
    await _ends_well(stage, jobs[0], calls=1)


@pytest.mark.parametrize("mishap", [Mishap.CUT, Mishap.LOST])
async def test_f05_the_enqueue_of_a_submit_is_cut(stage: FaultStage, mishap: Mishap) -> None:
    await _ends_well(stage, await _run(stage, ("enqueue", "ENQUEUE"), mishap), calls=1)


async def test_f09_redis_comes_back_as_it_was_a_while_ago(stage: FaultStage) -> None:
    """A failover that lost the last seconds: jobs that ended since wait in it again, jobs that came since don't."""
    redis, lane = stage.worker.redis, stage.worker.keys.lane(Lane.STANDARD)
    ended = [await submit_one(stage.api, stage.setting, f"f09-{number}") for number in range(5)]
    await stage.api.jobs.enqueuer.aclose()
    earlier = await redis.dump(lane)
    await stage.a_healthy_worker_ends(ended)
    later = [await submit_one(stage.api, stage.setting, f"f09-later-{number}") for number in range(5)]
    await stage.api.jobs.enqueuer.aclose()
    await redis.restore(lane, 0, earlier, replace=True)
    await stage.a_healthy_worker_ends(ended + later)
    for job_id in ended + later:
        await _ended_well(stage, job_id, calls=1)


async def test_f11_a_worker_dies_between_its_claim_and_its_call(stage: FaultStage, fork_server: ForkServer) -> None:
    """Nothing was asked of the provider, so the attempt is given back."""
    claim = _of(await steps_of_a_worker(stage, fork_server), "flush-claim", "postgres")
    job_id = await submit_to_a_dying_worker(stage, fork_server, "f11", claim, Mishap.DIES_AFTER)
    await _ends_well(stage, job_id, calls=1)
    job = (await stage.evidence()).view.jobs[job_id]
    assert [(each.outcome, each.called) for each in job.attempts] == [("unknown", False), ("succeeded", True)]
    assert (job.attempts_used, job.worker_losses) == (1, 0)


async def test_f13_a_worker_dies_with_the_answer_in_its_hands(stage: FaultStage, fork_server: ForkServer) -> None:
    call = _of(await steps_of_a_worker(stage, fork_server), "job", "provider")
    job_id = await submit_to_a_dying_worker(stage, fork_server, "f13", call, Mishap.DIES_AFTER)
    await _ends_well(stage, job_id, calls=2)
    first = (await stage.evidence()).view.jobs[job_id].attempts[0]
    assert (first.outcome, first.billed) == ("unknown", "maybe")


async def test_f14_a_worker_dies_between_its_commit_and_redis(stage: FaultStage, fork_server: ForkServer) -> None:
    end = _of(await steps_of_a_worker(stage, fork_server), "flush-apply", "postgres")
    job_id = await submit_to_a_dying_worker(stage, fork_server, "f14", end, Mishap.DIES_AFTER)
    await _ends_well(stage, job_id, calls=1)


@pytest.mark.parametrize("mishap", [Mishap.CUT, Mishap.LOST])
async def test_f20_a_commit_is_cut_and_nobody_knows_whether_it_happened(stage: FaultStage, mishap: Mishap) -> None:
    await _ends_well(stage, await _run(stage, ("flush-apply", "postgres"), mishap), calls=1)


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_f22_a_workers_clock_is_wrong(stage: FaultStage, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is PostgreSQL's, and so is the question whether a job is due."""
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime.now(UTC) + timedelta(minutes=minutes))
    later = await submit_one(stage.api, stage.setting, "f22-later", run_at=await stage.owner.fetchval(IN_FIVE_MINUTES))
    now = await submit_one(stage.api, stage.setting, "f22-now")
    worker = fresh_worker(stage.worker)
    assert await execute_job(worker.jobs, now) == DONE
    again = await execute_job(worker.jobs, later)
    assert isinstance(again, After)
    assert 200 < again.seconds < 300
    claimed = await submit_one(stage.api, stage.setting, "f22-lease")
    await worker.jobs.group_commit.claim(claimed)
    left = await stage.owner.fetchval(
        "SELECT lease_expires_at - now() FROM workers WHERE id = (SELECT worker_id FROM jobs WHERE id = $1)", claimed
    )
    assert timedelta() < left <= timedelta(seconds=worker.jobs.leases.worker.lease_seconds)


async def test_f28_a_webhook_arrives_and_its_acknowledgement_does_not(stage: FaultStage) -> None:
    job_id = await _run(stage, ("dlv", "receiver"), Mishap.LOST)
    await _ends_well(stage, job_id, calls=1)
    ids = [each.id for each in stage.receiver.received if each.event["data"]["job_id"] == show_job(job_id)]
    assert len(ids) > 1
    assert len(set(ids)) == 1


async def test_f29_a_worker_dies_between_the_end_of_a_job_and_its_webhook(
    stage: FaultStage, fork_server: ForkServer
) -> None:
    enqueuer = _of(await steps_of_a_worker(stage, fork_server), "enqueue", "ENQUEUE")
    job_id = await submit_to_a_dying_worker(stage, fork_server, "f29", enqueuer, Mishap.DIES_BEFORE)
    await _ends_well(stage, job_id, calls=1)


async def test_f30_a_sender_that_stood_still_sends_after_another_one(stage: FaultStage) -> None:
    """The receiver sees the same id twice; what is recorded is the second sender's."""
    job_id = await submit_one(stage.api, stage.setting, "f30")
    slow, other = fresh_worker(stage.worker), fresh_worker(stage.worker)
    await execute_job(slow.jobs, job_id)
    delivery_id = await stage.owner.fetchval("SELECT id FROM deliveries WHERE job_id = $1", job_id)
    held = await slow.deliveries.claim(delivery_id)
    assert isinstance(held, ClaimedDelivery)
    await lapse_leases(stage.owner)
    assert await deliver_webhook(other.deliveries, delivery_id) == DONE
    late = Ended(held, "pending", datetime.now(UTC), Timing(), delay=0.0, status=500)
    assert not await slow.deliveries.record(late)
    assert (await stage.evidence()).is_over(job_id)


async def test_f36_a_blocked_loop_starts_no_call_that_another_worker_may_have_made(stage: FaultStage) -> None:
    """Its lease lapses meanwhile; when the loop goes on, the call waits for a renewal, which may never come."""
    job_id = await submit_one(stage.api, stage.setting, "f36")
    alone = DedicatedConnection(stage.settings.database, "blocked")
    lease = replace(stage.worker.jobs.leases.worker, connection=alone, name="blocked", id="", lease_seconds=1.0)
    await lease.register()
    worker = fresh_worker(stage.worker, lease=lease)
    calls = worker.jobs.group_commit._calls
    mark = calls.statement

    async def mark_and_block(runs: Sequence[Run]) -> Sequence[bool | Failed]:
        marked = await mark(runs)
        time.sleep(1.2)  # noqa: ASYNC251 - a blocked loop is what this is about
        blocked.set()
        return marked

    blocked = asyncio.Event()
    calls.statement = mark_and_block
    running = asyncio.create_task(execute_job(worker.jobs, job_id))
    await blocked.wait()
    await _ends_well(stage, job_id, calls=1)
    assert not running.done()
    running.cancel()
    alone.drop()


async def test_f37_a_transaction_that_stays_open_for_long_stops_nothing(
    stage: FaultStage, stack: AsyncExitStack
) -> None:
    """An old snapshot keeps dead rows, and every job changes its row several times."""
    connection = await stack.enter_async_context(stage.owner.acquire())
    await stack.enter_async_context(connection.transaction(isolation="repeatable_read"))
    await connection.fetchval("SELECT count(*) FROM jobs")
    job_ids = [await submit_one(stage.api, stage.setting, f"f37-{number}") for number in range(30)]
    await stage.a_healthy_worker_ends(job_ids)
    for job_id in job_ids:
        await _ended_well(stage, job_id, calls=1)
    # Of ours none can stay open: PostgreSQL ends it.
    async with hot_transaction(stage.worker.database, None) as ours:
        limit = await ours.fetchval("SELECT current_setting('idle_in_transaction_session_timeout')")
    assert limit not in {"0", ""}


def _request(headers: dict[str, str], body: dict[str, object]) -> bytes:
    content = orjson.dumps(body)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = ["POST /v1/jobs HTTP/1.1", "host: inferd", f"content-length: {len(content)}", *lines, "", ""]
    return "\r\n".join(head).encode() + content


async def _jobs(stage: FaultStage) -> list[JobId] | None:
    return [JobId(job_id) for job_id in (await stage.evidence()).view.jobs] or None


async def _run(stage: FaultStage, which: tuple[str, str], mishap: Mishap) -> JobId:
    """One job with a mishap at the last step that is so named."""
    with watch_edges():
        rehearsal = Plan()
        await stage.run(0, rehearsal)
        again = Plan()
        await stage.run(1, again)
        plan = Plan({_of([str(step) for step in again.taken], *which): mishap})
        job_id = await stage.run(2, plan)
    assert plan.reached
    await stage.time_passes(3)
    return job_id


async def _ends_well(stage: FaultStage, job_id: JobId, *, calls: int) -> None:
    """After a sweep, by one healthy worker."""
    await stage.repair(job_id)
    await _ended_well(stage, job_id, calls=calls)


async def _ended_well(stage: FaultStage, job_id: JobId, *, calls: int) -> None:
    evidence = await stage.evidence()
    assert evidence.problems(job_id, most_calls=calls) == []
    assert len(stage.fake.calls_of(show_job(job_id))) == calls


def _of(steps: list[str], part: str, call: str) -> str:
    """The first step of that part which is that call."""
    return next(step for step in steps if step.startswith(f"{part} >") and call in step)
