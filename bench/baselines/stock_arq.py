"""Runs stock arq for the scenarios that are compared with it, in a database of Redis that inferd does not use."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from arq import ArqRedis, create_pool
from arq.connections import RedisSettings

from bench.baselines.arq_worker import TASK
from bench.process import run
from bench.stack import Bench

_MODULE: Final = "bench.baselines.arq_worker"
_ENQUEUE_AT_ONCE: Final = 50
# The worker connects and polls once before the first measured task is enqueued.
_SETTLE_SECONDS: Final = 1.0


async def throughput(bench: Bench, count: int, *, slots: int) -> float:
    """Returns the no-op tasks a second of one worker, from its first task to its last."""
    await bench.reset_redis()
    pool = await _connect(bench)
    try:
        for start in range(0, count, _ENQUEUE_AT_ONCE):
            await asyncio.gather(*(pool.enqueue_job(TASK) for _ in range(min(_ENQUEUE_AT_ONCE, count - start))))
    finally:
        await pool.aclose()
    answer = await _work(bench, count, slots)
    return float(answer["count"] / answer["seconds"])


async def dispatch(bench: Bench, pauses: Sequence[float]) -> list[float]:
    """Returns the milliseconds from `enqueue_job` to the task's first line, sorted; one task after each pause."""
    await bench.reset_redis()
    pool = await _connect(bench)
    working = asyncio.create_task(_work(bench, len(pauses), 100))
    try:
        while not await pool.keys("arq:queue:health-check"):
            await asyncio.sleep(0.05)
        await asyncio.sleep(_SETTLE_SECONDS)
        for pause in pauses:
            await asyncio.sleep(pause)
            await pool.enqueue_job(TASK, monotonic())
        answer = await working
    finally:
        working.cancel()
        await pool.aclose()
    return [float(each) for each in answer["latencies_ms"]]


async def _connect(bench: Bench) -> ArqRedis:
    return await create_pool(RedisSettings.from_dsn(bench.other_redis_url))


async def _work(bench: Bench, count: int, slots: int) -> Any:
    environment = bench.environment({"REDIS_URL": bench.other_redis_url, "MAX_JOBS": str(slots)})
    return await run("arq", [_MODULE, str(count)], environment, bench.folder)
