"""No-op jobs through claim, run and durable finish in one worker process, against stock arq, which stores nothing."""

from typing import Final

from bench.baselines import stock_arq
from bench.jobs import draft, queue, running_seconds, until_succeeded
from bench.outcome import Row, alternate, at_least
from bench.stack import Bench

_SLOTS: Final = 1000


async def run(bench: Bench) -> list[Row]:
    ours, theirs = bench.size(6_000, 50), bench.size(3_000, 50)
    cpu_ms: list[float] = []

    async def work() -> float:
        await bench.reset()
        await queue(bench, ours, draft())
        async with bench.workers(INFERD_WORKER_CONCURRENCY=str(_SLOTS)) as (worker,):
            await until_succeeded(bench, ours)
            cpu_ms.append(round(worker.cpu_seconds / ours * 1000, 3))
        return ours / await running_seconds(bench)

    async def work_stock() -> float:
        return await stock_arq.throughput(bench, theirs, slots=_SLOTS)

    rounds = await alternate(bench.rounds, work, work_stock)
    # Includes the start of the process, about 0.1 ms a job.
    return [at_least("worker, no-op jobs", 4, rounds, of="stock arq", slots=_SLOTS, cpu_ms_per_job=[*cpu_ms])]
