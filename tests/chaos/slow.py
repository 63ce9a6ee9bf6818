"""The slow faults: nobody dies, and something answers late, to some, or not for long. One after the other, while calls
of many seconds are under way, so that every lease has to outlive each of them.

Of `KINDS` each comes once, in the seed's order; `--faults` names some. No worker dies in any of them but
`kill_in_stall`, so a repeated call has no excuse.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Final

import asyncpg

from local.processes import free_port
from tests.chaos.clients import Clients, Seen
from tests.chaos.deployment import Deployment
from tests.chaos.outage import Outage
from tests.chaos.plan import Plan
from tests.queue.own_valkey import OwnValkey, open_valkey
from tests.support.waiting import eventually

_RUNNING_ROWS: Final = "SELECT id FROM jobs WHERE state = 'running' ORDER BY random() LIMIT 10 FOR UPDATE"
_A_WORKER: Final = "SELECT id FROM workers ORDER BY random() LIMIT 1 FOR UPDATE"
_AN_ENDPOINT: Final = "SELECT id FROM webhook_endpoints ORDER BY random() LIMIT 1 FOR UPDATE"
_THE_TABLE: Final = "LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE"
_TABLE_LOCK_SECONDS: Final = 4.0
# A demoted Redis is left "within seconds": then calls begin again.
_LEFT_SECONDS: Final = 10.0
# How long a queue that fills Redis may take to drain by itself.
_DRAIN_SECONDS: Final = 60.0


@dataclass
class SlowFaults:
    """Does them; `outages` says when each was, and `stood_still` what should have gone on meanwhile and did not."""

    plan: Plan
    deployment: Deployment
    replica: OwnValkey
    crowd: Clients
    outages: list[Outage] = field(default_factory=list)
    stood_still: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    async def run(self, names: list[str]) -> None:
        draw = random.Random(self.plan.seed)
        for name in draw.sample(names, len(names)):
            await asyncio.sleep(draw.uniform(*self.plan.gap_seconds))
            await KINDS[name](self, draw)

    @contextmanager
    def _noted(self, name: str, note: str = "") -> Iterator[None]:
        started = time()
        try:
            yield
        finally:
            self.outages.append(Outage(name, started, time(), note))

    async def pg_stall(self, draw: random.Random) -> None:
        """Every process of PostgreSQL stands still; and again, when leases have hardly been renewed."""
        shortest, longest = self.plan.stall_seconds
        for number in range(self.plan.stalls):
            seconds = shortest * draw.uniform(1.0, 1.4) if number == 0 else draw.uniform(shortest, longest)
            async with self._stopped_postgres("PostgreSQL stands still"):
                await asyncio.sleep(seconds)
            await asyncio.sleep(draw.uniform(0.5, 1.5) * self.plan.gap_seconds[0])

    async def kill_in_stall(self, draw: random.Random) -> None:
        """A worker does die while PostgreSQL stands still: its jobs are taken over, the others' are not."""
        async with self._stopped_postgres("PostgreSQL stands still, a worker dies"):
            await asyncio.sleep(self.plan.stall_seconds[0] / 2)
            member = draw.choice(self.deployment.fleet.workers)
            killing = asyncio.create_task(self.deployment.fleet.kill(member, down=1.0))
            await asyncio.sleep(self.plan.stall_seconds[0] / 2)
        await killing

    async def pg_silent(self, draw: random.Random) -> None:
        """The network to PostgreSQL swallows every byte, and no connection is closed."""
        with self._noted("PostgreSQL is silent"):
            self.deployment.postgres.silence()
            try:
                await asyncio.sleep(self.plan.stall_seconds[0] * draw.uniform(1.0, 1.6))
            finally:
                self.deployment.postgres.heal()

    async def half_open(self, draw: random.Random) -> None:
        """One connection of one worker to PostgreSQL is never answered again; then one of another worker.

        First the one with the least to do, which is the one that a process keeps for its beat, then any.
        """
        entrances = draw.sample(self.deployment.postgres.ports[1:], min(2, len(self.deployment.postgres.ports) - 1))
        for number, entrance in enumerate(entrances):
            with self._noted("one connection is half-open"):
                if not self.deployment.postgres.silence_one(entrance, None if number == 0 else draw):
                    self.skipped.append("half_open: no connection was in use")
                await asyncio.sleep(self.plan.lock_seconds)

    async def lock_rows(self, _draw: random.Random) -> None:
        await self._locked("rows of running jobs are locked", _RUNNING_ROWS, self.plan.lock_seconds)

    async def lock_worker(self, _draw: random.Random) -> None:
        await self._locked("a worker's row is locked", _A_WORKER, self.plan.lock_seconds)

    async def lock_endpoint(self, _draw: random.Random) -> None:
        await self._locked("a webhook endpoint's row is locked", _AN_ENDPOINT, self.plan.lock_seconds)

    async def lock_table(self, _draw: random.Random) -> None:
        seconds = min(_TABLE_LOCK_SECONDS, self.plan.lock_seconds)
        await self._locked("the table of jobs is locked", _THE_TABLE, seconds)

    async def redis_full(self, draw: random.Random) -> None:
        """Redis has less memory than it uses and evicts nothing: whatever writes is refused."""
        async with self.deployment.valkey.client() as redis:
            with self._noted("Redis is full"):
                await redis.config_set("maxmemory", "100kb")
                try:
                    await self._without_redis("redis_full", draw)
                finally:
                    await redis.config_set("maxmemory", "0")

    async def redis_gone(self, draw: random.Random) -> None:
        """Nobody listens at Redis."""
        with self._noted("Redis is gone"):
            self.deployment.redis.refuse()
            try:
                await self._without_redis("redis_gone", draw)
            finally:
                self.deployment.redis.heal()

    async def _without_redis(self, name: str, draw: random.Random) -> None:
        """For long enough that workers claim from PostgreSQL alone: calls begin again before this is over."""
        await asyncio.sleep(draw.uniform(0.9, 1.1) * self.plan.redis_seconds)
        recent = time() - self.plan.redis_seconds / 3
        if not any(call.arrived_at >= recent for call in self.deployment.provider.calls):
            self.stood_still.append(f"{name}: no call began in the last {self.plan.redis_seconds / 3:.0f} s of it")

    async def redis_backlog(self, _draw: random.Random) -> None:
        """Redis is full of jobs that wait, and gets no more memory: the queue drains by itself all the same."""
        async with self.deployment.valkey.client() as redis:
            with self._noted("Redis is full of the queue"):
                used = int((await redis.info("memory"))["used_memory"])
                await redis.config_set("maxmemory", str(used + 100 * self.plan.backlog // 4))
                try:
                    waiting = await self.crowd.bulk(self.plan.backlog, "ok", priority="batch")
                    with suppress(AssertionError):
                        await eventually(lambda: not self._not_called(waiting), seconds=_DRAIN_SECONDS)
                    if left := self._not_called(waiting):
                        self.stood_still.append(
                            f"redis_backlog: after {_DRAIN_SECONDS:g} s {left} of {len(waiting)} jobs had not begun"
                        )
                finally:
                    await redis.config_set("maxmemory", "0")

    async def redis_demoted(self, _draw: random.Random) -> None:
        """A failover: another Redis becomes the primary, and new connections get there. The old one, now its replica,
        keeps its connections and answers READONLY."""
        old, new = self.deployment.valkey, self.replica
        await _fail_over(old, new)
        self.deployment.redis.target = new.folder / "valkey.sock"
        self.deployment.valkey, self.replica = new, old
        with self._noted("Redis is demoted"):
            began, called = time(), len(self.deployment.provider.calls)
            waiting = await self.crowd.bulk(50, "ok")
            with suppress(AssertionError):
                await eventually(lambda: not self._not_called(waiting), seconds=2 * _LEFT_SECONDS)
            took, left = time() - began, self._not_called(waiting)
            if took > _LEFT_SECONDS:
                made = len(self.deployment.provider.calls) - called
                self.stood_still.append(
                    f"redis_demoted: 50 jobs had not begun after {took:.0f} s ({left} left, {made} calls of any job)"
                )
            if left:
                # So that the rest of the run has a queue at all.
                self.deployment.redis.cut()

    async def provider_refuses(self, _draw: random.Random) -> None:
        """Nobody listens at the provider; calls that are under way are answered."""
        with self._noted("the provider refuses connections"):
            self.deployment.provider.refuse()
            try:
                await asyncio.sleep(self.plan.provider_seconds)
            finally:
                await self.deployment.provider.accept_again()

    async def provider_503(self, _draw: random.Random) -> None:
        """The provider's gateway answers 503 for it."""
        with self._noted("the provider answers 503"):
            self.deployment.provider.unavailable = True
            try:
                await asyncio.sleep(self.plan.provider_seconds)
            finally:
                self.deployment.provider.unavailable = False

    def _not_called(self, waiting: list[Seen]) -> int:
        called = {call.job_id for call in self.deployment.provider.calls}
        return sum(each.job_id not in called for each in waiting)

    async def _locked(self, name: str, statement: str, seconds: float) -> None:
        owner = await asyncpg.connect(self.deployment.owner_url, server_settings={"app.fleet": "on"})
        try:
            transaction = owner.transaction()
            await transaction.start()
            try:
                locked = await owner.fetch(statement)
            except asyncpg.UndefinedTableError:
                self.skipped.append(f"{name}: there is no such table")
                return
            with self._noted(name, f"{len(locked)} rows"):
                await asyncio.sleep(seconds)
            await transaction.rollback()
        finally:
            await owner.close()

    @asynccontextmanager
    async def _stopped_postgres(self, name: str) -> AsyncIterator[None]:
        owner = await asyncpg.connect(self.deployment.owner_url)
        postmaster = _parent_of(await owner.fetchval("SELECT pg_backend_pid()"))
        await owner.close()
        stopped = [postmaster]
        try:
            os.kill(postmaster, signal.SIGSTOP)
            # It forks no more: these are all.
            for child in _children_of(postmaster):
                stopped.append(child)
                os.kill(child, signal.SIGSTOP)
            with self._noted(name):
                yield
        finally:
            for pid in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


KINDS: Final[dict[str, Callable[[SlowFaults, random.Random], Awaitable[None]]]] = {
    "pg_stall": SlowFaults.pg_stall,
    "pg_silent": SlowFaults.pg_silent,
    "kill_in_stall": SlowFaults.kill_in_stall,
    "half_open": SlowFaults.half_open,
    "lock_rows": SlowFaults.lock_rows,
    "lock_worker": SlowFaults.lock_worker,
    "lock_endpoint": SlowFaults.lock_endpoint,
    "lock_table": SlowFaults.lock_table,
    "redis_full": SlowFaults.redis_full,
    "redis_gone": SlowFaults.redis_gone,
    "redis_backlog": SlowFaults.redis_backlog,
    "redis_demoted": SlowFaults.redis_demoted,
    "provider_refuses": SlowFaults.provider_refuses,
    "provider_503": SlowFaults.provider_503,
}


async def _fail_over(old: OwnValkey, new: OwnValkey) -> None:
    """`new` copies `old`, becomes the primary, and `old` its replica. Only the replicas' link needs a port."""
    ports = [free_port("127.0.0.1"), free_port("127.0.0.1")]
    async with old.client() as demoted, new.client() as promoted:
        for client, port in ((demoted, ports[0]), (promoted, ports[1])):
            await client.config_set("bind", "127.0.0.1")
            await client.config_set("port", str(port))
            await client.config_set("repl-diskless-sync-delay", "0")
        await promoted.replicaof("127.0.0.1", ports[0])

        async def copied() -> bool:
            return bool((await promoted.info("replication")).get("master_link_status") == "up")

        await eventually(copied, seconds=20, what="the replica has a copy")
        await promoted.replicaof("NO", "ONE")
        await demoted.replicaof("127.0.0.1", ports[1])


@asynccontextmanager
async def open_slow_faults(plan: Plan, deployment: Deployment, crowd: Clients) -> AsyncIterator[SlowFaults]:
    """`crowd` submits what a fault needs besides the load."""
    async with open_valkey() as replica:
        yield SlowFaults(plan, deployment, replica, crowd)


def _parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def _children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if _parent_of(int(entry.name)) == pid:
                    found.append(int(entry.name))
    return found


def _stat(pid: int) -> list[str]:
    """What stands behind the name, which may hold anything: the state, the parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
