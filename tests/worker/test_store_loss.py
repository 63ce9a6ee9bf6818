"""PostgreSQL goes away under a worker: an answer that is there is kept, and no call goes out that may be another's."""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, cast

import pytest

from core.db.engine import open_database
from core.db.faults import STORE_FAULTS
from core.db.session import hot_statement, hot_transaction
from core.domain.ids import JobId
from core.domain.job_state import JobState
from core.domain.run_again import DONE
from core.providers.catalogue import Catalogue
from core.providers.port import Provider
from core.runtime import open_worker
from core.settings import Settings
from tests.support.executing import execute_job
from tests.support.processes import run_worker
from tests.support.waiting import eventually
from tests.support.workers import enlist
from tests.worker.proxy import Proxy, through
from tests.worker.stage import WorkerStage
from tests.worker.worker_process import run_process

KILL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'inferd-worker'
"""


async def spooled(stage: WorkerStage, job_id: JobId) -> bool:
    return bool(await stage.api.redis.exists(stage.api.keys.spool(job_id)))


async def test_an_answer_waits_for_postgresql(
    stage: WorkerStage, quick: Settings, proxy: Proxy, stack: AsyncExitStack
) -> None:
    """F18: the write is tried until it works; the copy in Redis is gone after it."""
    patient = quick.model_copy(update={"worker": quick.worker.model_copy(update={"lease_seconds": 60})})
    await stack.enter_async_context(run_worker(through(patient, proxy)))
    job_id = await stage.submit("fake/ok:0.2")
    call = await stage.call()
    proxy.cut()
    await eventually(lambda: spooled(stage, job_id), what="the answer is spooled")
    assert (call.outcome, (await stage.job(job_id)).state) == ("answered", JobState.RUNNING)
    assert 0 < await stage.api.redis.ttl(stage.api.keys.spool(job_id)) <= 3600
    proxy.restore()
    job = await stage.ended(job_id)
    assert (job.state, len(job.attempts), await stage.results(job_id)) == (JobState.SUCCEEDED, 1, 1)
    assert len(stage.fake.calls) == 1

    async def forgotten() -> bool:
        return not await spooled(stage, job_id)

    await eventually(forgotten)


@pytest.mark.parametrize("away", [Proxy.cut, Proxy.hang])
async def test_the_answer_of_a_dead_worker_is_applied_by_the_next(
    stage: WorkerStage, quick: Settings, proxy: Proxy, stack: AsyncExitStack, away: object
) -> None:
    """F13, F18: nothing is paid twice, whether PostgreSQL refused the worker or did not answer it."""
    assert callable(away)
    dying = await stack.enter_async_context(run_process(through(quick, proxy)))
    job_id = await stage.submit("fake/ok:0.3")
    await stage.call()
    away(proxy)
    await eventually(lambda: spooled(stage, job_id), what="the answer is spooled")
    await dying.kill()
    await stack.enter_async_context(run_worker(quick))
    job = await stage.ended(job_id)
    assert (job.state, len(stage.fake.calls), await stage.results(job_id)) == (JobState.SUCCEEDED, 1, 1)
    assert [(each.outcome, each.billed) for each in job.attempts] == [("unknown", "maybe"), ("succeeded", "no")]
    assert not await spooled(stage, job_id)


async def test_connections_are_killed_again_and_again(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """F19, F20: an answer that was cut off may hide a COMMIT; whatever is written twice has the effect of once."""
    await stack.enter_async_context(run_worker(quick))
    job_ids = [await stage.submit(f"fake/ok:{number % 10 / 20}") for number in range(80)]
    for seen in range(8, 80, 8):
        await stage.call(seen)
        await stage.owner.execute(KILL_OTHERS)
    jobs = await stage.all_ended(job_ids, seconds=40)
    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert [await stage.results(job_id) for job_id in job_ids] == [1] * 80
    assert len({call.job_id for call in stage.fake.calls}) == len(stage.fake.calls) == 80


class Cutting(Catalogue):
    """Loses PostgreSQL between the claim and the call."""

    def __init__(self, catalogue: Catalogue, proxy: Proxy) -> None:
        super().__init__(catalogue._sources)
        self._proxy = proxy

    def resolve(self, model: str) -> tuple[Provider, str]:
        self._proxy.cut()
        return super().resolve(model)


async def test_a_call_does_not_go_out_when_the_lease_may_be_over(
    stage: WorkerStage, quick: Settings, proxy: Proxy, stack: AsyncExitStack
) -> None:
    """F17: a worker that can't ask waits with its call; another one has the job by the time it may go on."""
    runtime = await stack.enter_async_context(open_worker(through(quick, proxy)))
    lease = runtime.jobs.leases.worker
    await lease.register()
    catalogue = Cutting(runtime.jobs.catalogue, proxy)
    stack.push_async_callback(catalogue.aclose)
    job_id = await stage.submit("fake/ok")
    running = asyncio.create_task(execute_job(replace(runtime.jobs, catalogue=catalogue), job_id))
    await stage.in_state(job_id, JobState.RUNNING)
    await eventually(lambda: proxy.is_cut and not lease.is_valid, what="the lease may be over")
    assert stage.fake.calls == []
    await stack.enter_async_context(run_worker(quick))
    job = await stage.ended(job_id)
    assert (job.state, job.attempts_used) == (JobState.SUCCEEDED, 1)
    assert [(each.outcome, each.billed) for each in job.attempts] == [("unknown", "no"), ("succeeded", "yes")]
    proxy.restore()

    async def renewed() -> bool:
        with suppress(*STORE_FAULTS):
            await lease.renew()
        return lease.is_valid

    await eventually(renewed, what="the lease is renewed")
    assert await asyncio.wait_for(running, 20) == DONE
    assert len(stage.fake.calls) == 1


async def test_a_short_absence_before_the_call_costs_nothing(
    stage: WorkerStage, quick: Settings, proxy: Proxy, stack: AsyncExitStack
) -> None:
    """The claim stands, and the call goes out as soon as PostgreSQL has written that it does."""
    patient = quick.model_copy(update={"worker": quick.worker.model_copy(update={"lease_seconds": 60})})
    runtime = await stack.enter_async_context(open_worker(through(patient, proxy)))
    await enlist(runtime)
    catalogue = Cutting(runtime.jobs.catalogue, proxy)
    stack.push_async_callback(catalogue.aclose)
    job_id = await stage.submit("fake/ok")
    running = asyncio.create_task(execute_job(replace(runtime.jobs, catalogue=catalogue), job_id))
    await eventually(lambda: proxy.is_cut)
    assert stage.fake.calls == []
    proxy.restore()
    await asyncio.wait_for(running, 20)
    job = await stage.job(job_id)
    assert (job.state, len(job.attempts), len(stage.fake.calls)) == (JobState.SUCCEEDED, 1, 1)


async def test_an_answer_that_postgresql_refuses_ends_the_job(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack
) -> None:
    """F40: a reason for the caller in place of endless retries, and the neighbours' answers are stored."""
    await stage.owner.execute("ALTER TABLE results ADD CONSTRAINT no_poison CHECK (position('poison' in output) = 0)")
    try:
        await stack.enter_async_context(run_worker(quick))
        texts = ["fine", "poison", "good"] * 5
        messages = [[{"role": "user", "content": text}] for text in texts]
        job_ids = [await stage.submit("fake/ok:0.3", messages=message) for message in messages]
        jobs = await stage.all_ended(job_ids)
    finally:
        await stage.owner.execute("ALTER TABLE results DROP CONSTRAINT no_poison")
    assert [job.error_code for job in jobs] == [None, "answer_not_storable", None] * 5
    assert len(stage.fake.calls) == 15
    assert {each.billed for job in jobs for each in job.attempts} == {"yes"}


async def test_a_connection_that_got_no_answer_is_dropped_at_once(quick: Settings, proxy: Proxy) -> None:
    """Half open: a ROLLBACK would wait as long as the statement did, and so would whoever borrows it next."""
    impatient = quick.database.model_copy(update={"statement_timeout_seconds": 0.2, "pool_size": 2})
    settings = through(quick.model_copy(update={"database": impatient}), proxy)
    async with await open_database(settings.database, name="worker", fleet=True) as database:
        borrowed: list[Any] = []
        for opened in (hot_statement(database), hot_transaction(database, None)):
            with pytest.raises(TimeoutError) as raised:  # noqa: PT012 - the hang must come in between
                async with opened as connection:
                    borrowed.append(cast(Any, connection)._con)
                    proxy.hang()
                    await connection.fetchval("SELECT 1")
            assert not isinstance(raised.value.__context__, TimeoutError)
            assert borrowed[-1].is_closed()
            proxy.restore()
        assert await database.answers()
