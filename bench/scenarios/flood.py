"""One tenant submits 10,000 jobs at once while 20 others submit one a second: how long do those wait in the queue?

The worker has few slots and each job takes 50 ms, so the flood is far more than it can run at once. The reference is
the same worker with the same arrivals and no flood.
"""

import asyncio
from contextlib import suppress
from statistics import median
from typing import Final

from bench.http_client import Target
from bench.jobs import draft, queue
from bench.load import arrivals, open_loop, percentile
from bench.outcome import Row
from bench.stack import Bench

_TARGET_RATIO: Final = 1.5
_SLOTS: Final = 20
_WORK_SECONDS: Final = 0.05
_QUIET_RATE: Final = 1.0
_SETTLE_SECONDS: Final = 10.0
# A job that still waits when the round ends has waited at least this long.
_WAITS: Final = """
SELECT extract(epoch FROM coalesce(jobs.started_at, now()) - jobs.created_at)::float8 * 1000 AS wait
FROM jobs WHERE jobs.tenant_id <> $1 ORDER BY wait
"""
_WAITING: Final = "SELECT EXISTS (SELECT FROM jobs WHERE tenant_id <> $1 AND started_at IS NULL)"


async def run(bench: Bench) -> list[Row]:
    flood, seconds = bench.size(10_000, 100), bench.size(5, 1)
    loaded: list[float] = []
    unloaded: list[float] = []
    async with bench.api() as (target, _):
        for number in range(bench.rounds):
            unloaded.append(await _p95(bench, target, 0, seconds, seed=number))
            loaded.append(await _p95(bench, target, flood, seconds, seed=number))
    ratio = median(loaded) / median(unloaded)
    row = Row(
        name="quiet tenants during a flood",
        target=f"queue wait p95 ≤ {_TARGET_RATIO:g}× unloaded",
        reference=f"{median(unloaded):.1f} ms",
        result=f"{median(loaded):.1f} ms",
        ratio=round(ratio, 2),
        met=ratio <= _TARGET_RATIO,
        details={
            "ours": [round(each, 2) for each in loaded],
            "reference": [round(each, 2) for each in unloaded],
            "flood": flood,
            "slots": _SLOTS,
        },
    )
    return [row]


async def _p95(bench: Bench, target: Target, flood: int, seconds: int, *, seed: int) -> float:
    """Returns the p95 of the milliseconds from submit to claim for the quiet tenants."""
    await bench.reset()
    flooder, *quiet = bench.tenants
    async with bench.workers(1, INFERD_WORKER_CONCURRENCY=str(_SLOTS)):
        if flood:
            await queue(bench, flood, draft(params={"delay_seconds": _WORK_SECONDS}))
        times = arrivals(_QUIET_RATE * len(quiet), seconds, seed=seed)
        body = {"model": "echo/echo", "input": "Say hello.", "params": {"delay_seconds": _WORK_SECONDS}}
        requests = [
            target._replace(headers={"authorization": f"Bearer {quiet[number % len(quiet)].key}"}).request(
                "POST", "/v1/jobs", body
            )
            for number in range(len(times))
        ]
        await open_loop(target, requests, times, connections=len(quiet))
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while await bench.owner.fetchval(_WAITING, flooder.id):
                    await asyncio.sleep(0.1)
        waits = [float(row["wait"]) for row in await bench.owner.fetch(_WAITS, flooder.id)]
    return percentile(waits, 0.95)
