"""A stock arq worker on the same lane: it reads what the enqueue writes, and nothing runs twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from arq.connections import ArqRedis
from arq.worker import Worker, func

from core.queue.keys import Lane
from core.queue.payload import RUN_JOB, dumps, loads
from tests.queue.lanes import Lanes, Runs
from tests.support.waiting import eventually


@asynccontextmanager
async def stock_worker(lanes: Lanes, runs: Runs) -> AsyncIterator[Worker]:
    async def run_job(ctx: dict[str, object], member: str) -> None:
        await runs.task(ctx, member)

    pool = ArqRedis.from_url(lanes.url)
    worker = Worker(
        functions=[func(run_job, name=RUN_JOB)],
        redis_pool=pool,
        queue_name=lanes.keys.lane(Lane.STANDARD),
        handle_signals=False,
        keep_result=0,
        poll_delay=0.01,
        max_jobs=5,
        job_serializer=dumps,
        job_deserializer=loads,
    )
    running = asyncio.create_task(worker.main())
    try:
        yield worker
    finally:
        # Told to do no more jobs, it ends between two rounds; cancelled, it may leave a pipeline half open.
        worker.burst, worker.max_burst_jobs = True, 0
        await running
        await pool.aclose(close_connection_pool=True)


async def test_both_serve_one_lane_and_each_job_runs_once(lanes: Lanes) -> None:
    ours, stock = Runs(), Runs()
    for runs in (ours, stock):
        runs.may_end.clear()
    async with stock_worker(lanes, stock) as worker, lanes.worker(ours, slots=6):
        members = await lanes.enqueue(40)
        await ours.until(lambda: len(ours.running) == 5)
        await stock.until(lambda: len(stock.running) == 5)
        for runs in (ours, stock):
            runs.may_end.set()

        async def empty() -> bool:
            return await lanes.count() == 0

        await eventually(empty)
        assert worker.jobs_failed == 0
    assert sorted(ours.members + stock.members) == sorted(members)


async def test_it_leaves_alone_what_we_run(lanes: Lanes) -> None:
    ours, stock = Runs(), Runs()
    ours.may_end.clear()
    (held,) = await lanes.enqueue()
    async with lanes.worker(ours, slots=1):
        await ours.until(lambda: held in ours.running)
        async with stock_worker(lanes, stock):
            others = await lanes.enqueue(5)
            await stock.until(lambda: len(stock.members) == 5)
            ours.may_end.set()
    assert (ours.members, sorted(stock.members)) == ([held], sorted(others))
