"""Jobs of every kind over two worker processes while a seeded schedule of faults hits them; then the rows are checked.

`CHAOS_SEED=7 CHAOS_SECONDS=60 pytest -s tests/chaos/test_seeded_faults.py` is a longer one. The provider is `echo`, so
this looks at what inferd's own rows say; tests/chaos/run.py compares them with what providers and receivers saw.
"""

import asyncio
import os
import random
import statistics
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from core.runtime import open_operator
from core.settings import DatabaseSettings, Settings
from tests.chaos.invariants import broken_rules, left_in_redis
from tests.conftest import MakeSettings
from tests.queue.own_valkey import OwnValkey, on_valkey, open_valkey
from tests.support.processes import RunningApi, serve_api
from tests.support.servers import owner_url
from tests.support.tenants import make_tenant
from tests.support.waiting import eventually
from tests.worker.worker_process import WorkerProcess, start_worker

SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "4"))
JOBS_A_SECOND = 22

TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name IN ('inferd-worker', 'inferd-api')
"""
HELD = "SELECT id, run_no FROM jobs WHERE state = 'running' AND worker_id LIKE '%-' || $1::text || '-%'"
RECOVERED = """
SELECT extract(epoch FROM started_at - $3)::float8 FROM attempts WHERE job_id = $1 AND run_no = $2 + 1
"""


def jobs(draw: random.Random) -> dict[str, Any]:
    """A job of some kind; most succeed, if they are let."""
    kinds: list[tuple[int, dict[str, Any]]] = [
        (50, {"model": "echo/echo", "params": {"delay_seconds": draw.random() * 0.3}}),
        (15, {"model": "echo/slow", "params": {"delay_seconds": 0.5 + draw.random() * 1.5}}),
        (10, {"model": "echo/flaky", "params": {"fail_times": 1}}),
        (8, {"model": "echo/rate-limited", "params": {"retry_after": 0.1}}),
        (5, {"model": "echo/fail"}),
        (4, {"model": "echo/garbage", "max_attempts": 2}),
        (4, {"model": "echo/timeout", "timeout_seconds": 0.3, "max_attempts": 2}),
        (4, {"model": "echo/timeout", "deadline_seconds": 1.0}),
    ]
    (chosen,) = draw.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])
    job = {"input": "hello", "priority": draw.choice(["interactive", "standard", "batch"]), **chosen}
    if draw.random() < 0.3:
        job["webhook"] = {"url": "https://receiver.invalid/hook"}
    return job


@dataclass
class Arena:
    """Two workers, one API, and everything that may be done to them."""

    settings: Settings
    api: RunningApi
    client: httpx2.AsyncClient
    owner: "asyncpg.Connection[asyncpg.Record]"
    valkey: OwnValkey
    folder: Path
    draw: random.Random
    submitted: int = 0
    workers: list[WorkerProcess] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    cancelled: set[str] = field(default_factory=set)
    killed: list[tuple[uuid.UUID, int, Any]] = field(default_factory=list)

    async def submit_until(self, stop: asyncio.Event) -> None:
        """Steadily, some of them cancelled a little later."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                await asyncio.sleep(1 / JOBS_A_SECOND)
                self.submitted += 1
                body, patience = jobs(self.draw), self.draw.random() * 2 if self.draw.random() < 0.15 else None
                group.create_task(self._submit(body, str(uuid.UUID(int=self.draw.getrandbits(128))), patience))

    async def _submit(self, body: dict[str, Any], key: str, patience: float | None) -> None:
        job = await self._ask("/v1/jobs", json=body, headers={"idempotency-key": key})
        if patience is not None:
            await asyncio.sleep(patience)
            job = await self._ask(f"/v1/jobs/{job['id']}/cancel")
            if job["status"] == "cancelled":
                self.cancelled.add(job["id"])

    async def _ask(self, path: str, **request: Any) -> Any:
        """As a client does that wants it done: again, with the same key, until there is an answer."""
        while True:
            try:
                answer = await self.client.post(path, **request)
            except httpx2.TransportError:
                continue
            if answer.status_code < 500:
                answer.raise_for_status()
                return answer.json()
            await asyncio.sleep(0.05)

    async def break_things(self) -> None:
        """One fault after the other until the time is over; everything runs again when this returns."""
        faults: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (2, self.flush),
            (2, self.drop_redis_connections),
            (3, self.drop_database_connections),
            (4, self.kill_worker),
            (3, self.pause_worker),
        ]
        end = asyncio.get_running_loop().time() + SECONDS
        # Each once, from the last to the first; then by their weights.
        waiting = [fault for _, fault in faults]
        while waiting or asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.2 + self.draw.random() * 0.5)
            fault = (
                waiting.pop()
                if waiting
                else self.draw.choices([each for _, each in faults], [weight for weight, _ in faults])[0]
            )
            self.done[fault.__name__] += 1
            await fault()

    async def kill_worker(self) -> None:
        """One that has jobs in its hands."""
        worker = await self.busy_worker()
        now = await self.owner.fetchval("SELECT clock_timestamp()")
        held = await self.owner.fetch(HELD, str(worker.pid))
        await worker.kill()
        self.killed += [(row["id"], row["run_no"], now) for row in held]
        self.workers[self.workers.index(worker)] = await start_worker(self.settings, self.folder)

    async def busy_worker(self) -> WorkerProcess:
        """One of several that all run something, so that there is something to lose and somebody to take it over."""

        async def busy() -> list[WorkerProcess] | None:
            found = [worker for worker in self.workers if await self.owner.fetch(HELD, str(worker.pid))]
            return found if len(found) == len(self.workers) else None

        return self.draw.choice(await eventually(busy, seconds=30, what="both workers run something"))

    async def pause_worker(self) -> None:
        """Mostly for longer than its lease: others have its jobs when it goes on."""
        worker = await self.busy_worker()
        worker.pause()
        await asyncio.sleep(self.draw.choice([0.2, 1.7, 1.7]))
        worker.resume()

    async def flush(self) -> None:
        async with self.valkey.client() as client:
            await client.flushall()

    async def drop_redis_connections(self) -> None:
        async with self.valkey.client() as client:
            for kind in ("normal", "pubsub"):
                await client.client_kill_filter(_type=kind, skipme=True)

    async def drop_database_connections(self) -> None:
        await self.owner.execute(TERMINATE)

    async def all_ended(self) -> bool:
        return not await self.owner.fetchval("SELECT count(*) FROM jobs WHERE finished_at IS NULL")

    async def redis_is_empty(self) -> bool:
        return await left_in_redis(self.api.runtime.redis, self.api.runtime.keys) == {}

    async def recovery_seconds(self) -> list[float]:
        """From kill -9 to the job's next run, for those that were to run again."""
        times = [await self.owner.fetchval(RECOVERED, *killed) for killed in self.killed]
        return sorted(seconds for seconds in times if seconds is not None)

    async def report(self) -> str:
        states = await self.owner.fetch("SELECT state, count(*) AS n FROM jobs GROUP BY state ORDER BY state")
        times = await self.recovery_seconds()
        spread = f"p50 {statistics.median(times):.2f} s, max {times[-1]:.2f} s of {len(times)}" if times else "none"
        lines = (
            f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}",
            "jobs: " + ", ".join(f"{row['n']} {row['state']}" for row in states),
            "faults: " + ", ".join(f"{count} {name}" for name, count in self.done.items()),
            f"from kill -9 to running again: {spread}",
        )
        return "\n".join(lines)


@pytest.fixture
async def arena(
    make_settings: MakeSettings, fresh_database: DatabaseSettings, tmp_path: Path, stack: AsyncExitStack
) -> Arena:
    valkey = await stack.enter_async_context(open_valkey())
    worker = {"lease_seconds": 1.0, "heartbeat_seconds": 0.3, "sweep_seconds": 0.3, "concurrency": 20}
    settings = on_valkey(make_settings(database=fresh_database, worker=worker), valkey)
    api = await stack.enter_async_context(serve_api(settings))
    async with open_operator(settings) as operator:
        tenant = await make_tenant(operator)
    client = await stack.enter_async_context(api.client(tenant))
    owner = await asyncpg.connect(owner_url(fresh_database), server_settings={"app.fleet": "on"})
    stack.push_async_callback(owner.close)
    draw = random.Random(SEED)
    arena = Arena(settings, api, client, owner, valkey, tmp_path, draw)
    stack.push_async_callback(kill_all, arena)
    arena.workers = [await start_worker(settings, tmp_path) for _ in range(2)]
    return arena


async def kill_all(arena: Arena) -> None:
    for worker in arena.workers:
        if worker.process.returncode is None:
            worker.resume()
            await worker.kill()


@pytest.mark.timeout(SECONDS * 3 + 60)
async def test_every_rule_holds_after_seeded_faults(arena: Arena) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(arena.submit_until(stop))
        await arena.break_things()
        stop.set()
    await eventually(arena.all_ended, seconds=30 + SECONDS, what=f"all jobs end\n{await arena.report()}")
    await eventually(arena.redis_is_empty, what="Redis is empty")
    # -15: the last kill was so late that its successor had not begun.
    assert {await worker.terminate() for worker in arena.workers} <= {0, -15}
    report = await arena.report()
    print(report)

    assert await broken_rules(arena.owner) == {}, report
    assert await arena.owner.fetchval("SELECT count(*) FROM jobs") == arena.submitted > 50
    rows = await arena.owner.fetch("SELECT id FROM jobs WHERE state = 'cancelled'")
    assert arena.cancelled == {f"job_{row['id'].hex}" for row in rows}, report
    assert arena.cancelled
    assert arena.killed
    assert len(arena.done) == 5
