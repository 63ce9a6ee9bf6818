"""One, two and four workers on the same queue: the CPU for a job must not grow with their number."""

from statistics import median
from typing import Final

from bench.jobs import draft, queue, until_succeeded
from bench.outcome import Row
from bench.stack import Bench

_WORKERS: Final = (1, 2, 4)
_TARGET_GROWTH: Final = 0.10
_WARM_UP: Final = 500
_LEAST_MS: Final = 0.001


async def run(bench: Bench) -> list[Row]:
    jobs = bench.size(1500, 300)
    cost: dict[int, list[float]] = {count: [] for count in _WORKERS}
    for number in range(bench.rounds):
        for count in _WORKERS if number % 2 == 0 else reversed(_WORKERS):
            cost[count].append(await _cpu_ms(bench, count, jobs))
    medians = {count: median(each) for count, each in cost.items()}
    return [_row(count, medians, cost) for count in _WORKERS[1:]]


async def _cpu_ms(bench: Bench, workers: int, jobs: int) -> float:
    """Returns the CPU milliseconds of all workers for one job, without their start."""
    await bench.reset()
    async with bench.workers(workers) as processes:
        warm = min(_WARM_UP, jobs)
        await queue(bench, warm, draft())
        await until_succeeded(bench, warm)
        before = sum(process.cpu_seconds for process in processes)
        await queue(bench, jobs, draft())
        await until_succeeded(bench, warm + jobs)
        return (sum(process.cpu_seconds for process in processes) - before) / jobs * 1000


def _row(count: int, medians: dict[int, float], cost: dict[int, list[float]]) -> Row:
    # A process's CPU clock ticks every 10 ms, so a smaller value gives no meaningful ratio.
    ratio = medians[count] / (medians[1] or max(medians[count], _LEAST_MS))
    return Row(
        name=f"CPU per job, {count} workers",
        target=f"within {_TARGET_GROWTH:.0%} of one worker's",
        reference=f"{medians[1]:.3f} ms",
        result=f"{medians[count]:.3f} ms",
        ratio=round(ratio, 2),
        met=ratio <= 1 + _TARGET_GROWTH,
        details={
            "ours": [round(each, 3) for each in cost[count]],
            "reference": [round(each, 3) for each in cost[1]],
        },
    )
