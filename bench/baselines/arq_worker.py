"""A stock arq worker that runs no-op tasks, counts them, and prints in its last line how long they took.

`python -m bench.baselines.arq_worker COUNT` with REDIS_URL and MAX_JOBS. It stores nothing. A task that gets
the time at which it was enqueued (by the system's monotonic clock) is timed from then.
"""

import asyncio
import json
import os
import sys
from time import monotonic
from typing import Any, Final

import uvloop
from arq.connections import RedisSettings
from arq.worker import Worker, func

TASK: Final = "noop"


class Tally:
    """Records when the first and the last of the tasks ran."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.started = 0.0
        self.ended = 0.0
        self.done = asyncio.Event()
        self.latencies: list[float] = []

    async def noop(self, _ctx: dict[str, Any], enqueued_at: float | None = None) -> None:
        now = monotonic()
        self.started = self.started or now
        if enqueued_at is not None:
            self.latencies.append((now - enqueued_at) * 1000)
        self._left -= 1
        if self._left == 0:
            self.ended = now
            self.done.set()


async def main(count: int) -> None:
    tally = Tally(count)
    worker = Worker(
        functions=[func(tally.noop, name=TASK)],  # type: ignore[arg-type]  # arq wants a Protocol with *args
        redis_settings=RedisSettings.from_dsn(os.environ["REDIS_URL"]),
        max_jobs=int(os.environ.get("MAX_JOBS", "100")),
        keep_result=0,
        handle_signals=False,
    )
    running = asyncio.create_task(worker.async_run())
    await tally.done.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    answer = {"count": count, "seconds": tally.ended - tally.started, "latencies_ms": sorted(tally.latencies)}
    print(json.dumps(answer))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
