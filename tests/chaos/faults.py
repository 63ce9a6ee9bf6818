"""The storm: many short faults by a seeded schedule, over the fleet and its stores. tests/chaos/slow.py has the long ones."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import time

import asyncpg

from tests.chaos.fleet import Fleet, Member
from tests.chaos.outage import Outage
from tests.chaos.proxy import Proxy
from tests.queue.own_valkey import OwnValkey

# A pause is longer than a lease, so that somebody else takes the jobs over.
_PAUSE_SECONDS = 9.5


@dataclass
class Faults:
    """Runs faults one after the other until `stop` is set; pauses go on beside the next ones."""

    seed: int
    fleet: Fleet
    valkey: OwnValkey
    postgres: Proxy
    redis: Proxy
    owner_url: str
    pause_seconds: float = _PAUSE_SECONDS
    kills_only: bool = False
    done: list[str] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    _beside: set["asyncio.Task[None]"] = field(default_factory=set)

    async def run(self, stop: asyncio.Event, *, every: tuple[float, float], at_most: int | None) -> None:
        """One fault each `every` seconds, chosen by the seed. Each kind comes once before the rest is drawn."""
        draw = random.Random(self.seed)
        kinds = self._kinds()[:1] if self.kills_only else self._kinds()
        first = draw.sample(kinds, len(kinds))
        while not stop.is_set() and (at_most is None or len(self.done) < at_most):
            try:
                await asyncio.wait_for(stop.wait(), draw.uniform(*every))
            except TimeoutError:
                name, fault, _ = first.pop() if first else draw.choices(kinds, [weight for *_, weight in kinds])[0]
                self.done.append(name)
                await fault(draw)
        await asyncio.gather(*self._beside)
        self.postgres.heal()
        self.redis.heal()

    def _kinds(self) -> list[tuple[str, Callable[[random.Random], Awaitable[None]], int]]:
        return [
            ("kill -9 a worker", self._kill_worker, 6),
            ("kill -9 an API", self._kill_api, 2),
            ("pause a worker beyond its lease", self._pause_worker, 2),
            ("rolling SIGTERM of the workers", self._roll_workers, 1),
            ("SIGTERM an API", self._roll_api, 1),
            ("FLUSHALL", self._flush, 2),
            ("kill -9 Redis", self._restart_redis, 2),
            ("kill -9 a PostgreSQL backend: crash recovery", self._crash_postgres, 2),
            ("terminate every PostgreSQL connection", self._terminate, 2),
            ("cut PostgreSQL", self._cut_postgres, 2),
            ("refuse PostgreSQL", self._refuse_postgres, 2),
            ("silence Redis", self._silence_redis, 2),
            ("refuse Redis", self._refuse_redis, 2),
        ]

    async def _kill_worker(self, draw: random.Random) -> None:
        for member in self._some(self.fleet.workers, draw):
            await self.fleet.kill(member, down=draw.uniform(0.0, 1.0))

    async def _kill_api(self, draw: random.Random) -> None:
        for member in self._some(self.fleet.apis, draw):
            await self.fleet.kill(member, down=draw.uniform(0.0, 0.5))

    async def _pause_worker(self, draw: random.Random) -> None:
        # One at a time: with every worker paused nothing could recover, and nothing would be learnt.
        if any(member.paused for member in self.fleet.workers):
            return
        for member in self._some(self.fleet.workers, draw):
            task = asyncio.create_task(self.fleet.pause(member, seconds=self.pause_seconds))
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)

    async def _roll_workers(self, _draw: random.Random) -> None:
        for member in self.fleet.workers:
            if member.running:
                await self.fleet.replace(member)

    async def _roll_api(self, draw: random.Random) -> None:
        for member in self._some(self.fleet.apis, draw):
            await self.fleet.replace(member)

    async def _flush(self, _draw: random.Random) -> None:
        async with self.valkey.client() as client:
            await client.flushall()

    async def _restart_redis(self, draw: random.Random) -> None:
        started = time()
        await self.valkey.kill()
        await asyncio.sleep(draw.uniform(0.0, 1.0))
        await self.valkey.start()
        self.outages.append(Outage("Redis is gone", started, time()))

    async def _crash_postgres(self, _draw: random.Random) -> None:
        """One backend's death makes the postmaster end all of them and recover from the log, as after a crash."""
        started = time()
        connection = await _connected(self.owner_url)
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGKILL)
        await (await _connected(self.owner_url)).close()
        connection.terminate()
        self.outages.append(Outage("PostgreSQL recovers", started, time()))

    async def _terminate(self, _draw: random.Random) -> None:
        connection = await _connected(self.owner_url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()

    async def _cut_postgres(self, _draw: random.Random) -> None:
        self.postgres.cut()

    async def _refuse_postgres(self, draw: random.Random) -> None:
        await self._outage("PostgreSQL refuses", self.postgres, self.postgres.refuse, draw.uniform(0.3, 1.5))

    async def _silence_redis(self, draw: random.Random) -> None:
        await self._outage("Redis is silent", self.redis, self.redis.silence, draw.uniform(0.5, 3.0))

    async def _refuse_redis(self, draw: random.Random) -> None:
        await self._outage("Redis refuses", self.redis, self.redis.refuse, draw.uniform(0.3, 1.5))

    async def _outage(self, name: str, proxy: Proxy, begin: Callable[[], None], seconds: float) -> None:
        started = time()
        begin()
        await asyncio.sleep(seconds)
        proxy.heal()
        self.outages.append(Outage(name, started, time()))

    @staticmethod
    def _some(members: list[Member], draw: random.Random) -> list[Member]:
        running = [member for member in members if member.running]
        return [draw.choice(running)] if running else []


async def _connected(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection that runs statements: after a crash, the first one may be to a server that is about to notice it."""
    async with asyncio.timeout(30):
        while True:
            try:
                connection = await asyncpg.connect(url)
                await connection.execute("SELECT 1")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)
            else:
                return connection
