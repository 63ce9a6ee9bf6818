"""Lanes in a real Valkey, and workers that serve them with plain functions: the queue without PostgreSQL."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from core.domain.ids import JobId, new_job_id
from core.domain.run_again import DONE, NOW, After, AtFront, RunAgain
from core.queue.claims import Claims, open_claims
from core.queue.connect import RedisClient, connect
from core.queue.enqueue import Enqueuer, job_entry, open_enqueuer
from core.queue.fleet import TenantCaps
from core.queue.keys import IN_PROGRESS, JOB_LANES, PAYLOAD, Keys, Lane, job_member
from core.queue.payload import RUN_JOB
from core.queue.subscription import listen
from core.queue.worker import QueueWorker
from core.settings import RedisSettings

LEASE_SECONDS = 30.0


@dataclass
class Lanes:
    """The three lanes of jobs under one prefix."""

    url: str
    keys: Keys
    redis: RedisClient
    enqueuer: Enqueuer
    made: list[str] = field(default_factory=list)

    def claims(
        self,
        lease_seconds: float = LEASE_SECONDS,
        lanes: Sequence[Lane] = JOB_LANES,
        *,
        caps: TenantCaps | None = None,
        worker: str = "",
    ) -> Claims:
        """What one worker would hold."""
        return open_claims(self.redis, self.keys, lanes, lease_seconds, caps=caps, worker=worker)

    async def enqueue(self, count: int = 1, lane: Lane = Lane.STANDARD, when: AtFront | After = NOW) -> list[str]:
        """New jobs' members, enqueued in this order."""
        job_ids = [new_job_id() for _ in range(count)]
        await self.enqueue_again(job_ids, lane, when)
        return [job_member(job_id) for job_id in job_ids]

    async def enqueue_again(
        self, job_ids: Sequence[JobId], lane: Lane = Lane.STANDARD, when: AtFront | After = NOW
    ) -> None:
        self.made += map(job_member, job_ids)
        await self.enqueuer.enqueue_now([job_entry(job_id, lane, when) for job_id in job_ids])

    async def members(self, lane: Lane = Lane.STANDARD) -> list[str]:
        return [member.decode() for member in await self.redis.zrange(self.keys.lane(lane), 0, -1)]

    async def count(self) -> int:
        """Members in all lanes."""
        return sum([await self.redis.zcard(self.keys.lane(lane)) for lane in Lane])

    async def score(self, member: str, lane: Lane = Lane.STANDARD) -> float:
        """When it is due, in milliseconds of Redis's clock."""
        score = await self.redis.zscore(self.keys.lane(lane), member)
        assert score is not None
        return float(score)

    async def due_in_ms(self, member: str, lane: Lane = Lane.STANDARD) -> float:
        """Negative when it is due."""
        score = await self.score(member, lane)
        seconds, microseconds = await self.redis.time()
        return score - int(seconds) * 1000 - int(microseconds) // 1000

    async def make_due(self, member: str, lane: Lane = Lane.STANDARD) -> None:
        await self.redis.zadd(self.keys.lane(lane), {member: 1})

    async def holder(self, member: str) -> str | None:
        """The token under which somebody holds the member."""
        token = await self.redis.get(IN_PROGRESS + member)
        return None if token is None else token.decode()

    @asynccontextmanager
    async def worker(self, runs: "Runs", *, listening: bool = True, **changes: Any) -> AsyncIterator[QueueWorker]:
        """Serves the lanes until the end of the block, then lets what runs end."""
        given: dict[str, Any] = {
            "lanes": JOB_LANES,
            "tasks": {RUN_JOB: runs.task},
            "default_task": RUN_JOB,
            "slots": 10,
            "lease_seconds": LEASE_SECONDS,
            "context": {},
            "name": uuid.uuid4().hex[:8],
        } | changes
        async with connected(self.url) as redis:
            worker = QueueWorker(redis=redis, keys=self.keys, **given)
            parts = [asyncio.create_task(worker.main())]
            if listening:
                channel = self.keys.wake_one(given["lanes"][0], given["name"])
                parts.append(asyncio.create_task(listen(redis, {channel: lambda _: worker.wake()}, worker.wake)))
            try:
                yield worker
            finally:
                worker.stop()
                await worker.drain(5)
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisClient]:
    """The product's own client."""
    redis = connect(RedisSettings(url=SecretStr(url)))
    try:
        yield redis
    finally:
        await redis.aclose(close_connection_pool=True)


@asynccontextmanager
async def open_lanes(url: str, keys: Keys) -> AsyncIterator[Lanes]:
    """Emptied again at the end."""
    async with connected(url) as redis:
        lanes = Lanes(url, keys, redis, open_enqueuer(redis, keys, timeout=2.0))
        yield lanes
        ours = [f"{prefix}{member}" for member in lanes.made for prefix in (PAYLOAD, IN_PROGRESS)]
        await redis.delete(*[keys.lane(lane) for lane in Lane], *ours)


class Runs:
    """A task that notes what it ran. `result` says what it returns, or raises."""

    def __init__(self, result: Callable[[str], RunAgain] = lambda _: DONE) -> None:
        self.members: list[str] = []
        self.running: set[str] = set()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._result = result
        self._changed = asyncio.Condition()

    async def task(self, _context: dict[str, object], member: str) -> RunAgain:
        self.members.append(member)
        self.running.add(member)
        await self._tell()
        try:
            await self.may_end.wait()
            return self._result(member)
        finally:
            self.running.discard(member)
            await self._tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it holds, checked at every start and end of a run."""
        async with asyncio.timeout(15), self._changed:
            await self._changed.wait_for(condition)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
