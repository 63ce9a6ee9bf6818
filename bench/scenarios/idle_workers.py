"""What a hundred idle workers add to the CPU that a job costs in Redis: a job must wake one of them, not all.

One QueueWorker with a no-op task, then the same with a hundred more, all in this process; one job at a time. The CPU of
the workers' ticks, measured without jobs, is subtracted.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Final

from bench.outcome import Row
from bench.stack import Bench
from core.domain.ids import new_job_id
from core.domain.run_again import DONE, Done
from core.process import end_tasks
from core.queue.connect import connect
from core.queue.enqueue import Enqueuer, job_entry, open_enqueuer
from core.queue.keys import JOB_LANES, Keys, Lane
from core.queue.payload import RUN_JOB
from core.queue.subscription import listen
from core.queue.worker import QueueWorker

_IDLE: Final = 100
_TARGET_MS: Final = 0.1
_LANE: Final = Lane.INTERACTIVE
_LEASE_SECONDS: Final = 30.0


@dataclass(slots=True)
class _Fleet:
    """Workers that share lanes of their own; `ended` counts the jobs that ran."""

    bench: Bench
    keys: Keys
    enqueuer: Enqueuer
    ended: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def run_job(self, _context: dict[str, object], _member: str) -> Done:
        self.ended.release()
        return DONE

    async def cpu_seconds(self) -> float:
        info = await self.bench.redis.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    async def idle(self) -> int:
        return int(await self.bench.redis.zcount(f"{self.keys.group(_LANE)}:idle", 0, "+inf"))


async def run(bench: Bench) -> list[Row]:
    jobs, seconds = bench.size(500, 20), bench.size(50, 5) / 10
    alone: list[float] = []
    among: list[float] = []
    for _ in range(min(bench.rounds, 3)):
        alone.append(await _cost(bench, 1, jobs, seconds))
        among.append(await _cost(bench, 1 + _IDLE, jobs, seconds))
    added = median(among) - median(alone)
    row = Row(
        name=f"what {_IDLE} idle workers add to a job in Redis",
        target=f"≤ {_TARGET_MS:g} ms",
        reference=f"one worker {median(alone):.3f} ms",
        result=f"{added:+.3f} ms",
        ratio=round(median(among) / median(alone), 2),
        met=added <= _TARGET_MS,
        details={"ours": [round(each, 4) for each in among], "reference": [round(each, 4) for each in alone]},
    )
    return [row]


async def _cost(bench: Bench, workers: int, jobs: int, seconds: float) -> float:
    """Returns the milliseconds of Redis's CPU for a job."""
    async with _fleet(bench, workers) as fleet:
        before = await fleet.cpu_seconds()
        await asyncio.sleep(seconds)
        ticks = (await fleet.cpu_seconds() - before) / seconds
        before, began = await fleet.cpu_seconds(), perf_counter()
        for _ in range(jobs):
            await fleet.enqueuer.enqueue_now([job_entry(new_job_id(), _LANE)])
            await fleet.ended.acquire()
        return (await fleet.cpu_seconds() - before - ticks * (perf_counter() - began)) / jobs * 1000


@asynccontextmanager
async def _fleet(bench: Bench, count: int) -> AsyncIterator[_Fleet]:
    await bench.reset_redis()
    redis, keys = connect(bench.settings.redis), Keys("bench-idle")
    fleet = _Fleet(bench, keys, open_enqueuer(redis, keys, timeout=5.0))
    workers = {
        f"worker-{number}": QueueWorker(
            redis=redis,
            keys=keys,
            lanes=JOB_LANES,
            tasks={RUN_JOB: fleet.run_job},
            default_task=RUN_JOB,
            slots=100,
            lease_seconds=_LEASE_SECONDS,
            context={},
            name=f"worker-{number}",
        )
        for number in range(count)
    }
    wakes = {keys.wake_one(_LANE, name): _waking(worker) for name, worker in workers.items()}
    parts = [asyncio.create_task(worker.main()) for worker in workers.values()]
    parts.append(asyncio.create_task(listen(redis, wakes, lambda: None)))
    try:
        async with asyncio.timeout(30):
            while await fleet.idle() < count:
                await asyncio.sleep(0.1)
        yield fleet
    finally:
        for worker in workers.values():
            worker.stop()
        await asyncio.gather(*(worker.drain(5) for worker in workers.values()))
        await end_tasks(parts)
        await redis.aclose(close_connection_pool=True)


def _waking(worker: QueueWorker) -> Callable[[str], None]:
    return lambda _: worker.wake()
