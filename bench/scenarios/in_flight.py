"""2,000 calls of 2 s in flight in one worker: how close to ideal, how much memory, is its lease renewed?

The jobs are interactive, because a worker reserves a few slots for that priority.
"""

import asyncio
from statistics import median
from typing import Final

from bench.baselines import openai_loop
from bench.jobs import draft, queue, running_seconds, until_succeeded
from bench.outcome import Row
from bench.process import Process
from bench.stack import Bench
from core.domain.job_state import Priority
from core.settings import WorkerSettings

_DELAY_SECONDS: Final = 2.0
_TARGET_SHARE: Final = 0.95
_TARGET_MEGABYTES: Final = 300
_WAVES: Final = 1


async def run(bench: Bench) -> list[Row]:
    slots = bench.size(2000, 50)
    count = slots * (1 if bench.quick else _WAVES)
    ideal = count / slots * _DELAY_SECONDS
    shares: list[float] = []
    memory: list[float] = []
    margins: list[float] = []
    async with openai_loop.provider(bench, delay=_DELAY_SECONDS) as base_url:
        for _ in range(bench.rounds):
            await bench.reset()
            await queue(bench, count, draft("mock/gpt", priority=Priority.INTERACTIVE), provider_url=base_url)
            async with bench.workers(1, **openai_loop.variables(base_url, slots)) as (worker,):
                watch = asyncio.create_task(_watch(bench, worker, memory, margins))
                await until_succeeded(bench, count)
                watch.cancel()
            shares.append(ideal / await running_seconds(bench))
    return [_row(shares, max(memory), min(margins))]


async def _watch(bench: Bench, worker: Process, memory: list[float], margins: list[float]) -> None:
    """Records twice a second the worker's memory and the remaining time of its lease."""
    while True:
        memory.append(worker.resident_bytes / 2**20)
        left = await bench.owner.fetchval(
            "SELECT extract(epoch FROM min(lease_expires_at) - now())::float8 FROM workers"
            " WHERE id IN (SELECT worker_id FROM jobs WHERE state = 'running')"
        )
        if left is not None:
            margins.append(float(left))
        await asyncio.sleep(0.5)


def _row(shares: list[float], megabytes: float, margin: float) -> Row:
    worker = WorkerSettings()
    # A heartbeat that is late by a whole period would leave less than this.
    on_time = margin >= worker.lease_seconds - 2 * worker.heartbeat_seconds
    share = median(shares)
    return Row(
        name="2,000 calls of 2 s in flight",
        target=f"≥ {_TARGET_SHARE:.0%} of ideal, ≤ {_TARGET_MEGABYTES} MB, heartbeats on time",
        reference="the calls' own two seconds",
        result=f"{share:.0%} of ideal, {megabytes:.0f} MB, shortest lease {margin:.1f} s",
        ratio=round(share, 2),
        met=share >= _TARGET_SHARE and megabytes <= _TARGET_MEGABYTES and on_time,
        details={"ours": [round(each, 3) for each in shares]},
    )
