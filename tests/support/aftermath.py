"""What a test may leave behind: nothing that stays in Redis for ever, and no job that nobody would ever move on.

`aftermath` is asked when a test has ended and before its rows are deleted. What it lists is a leak of the product's, or
of a test that ended something behind the product's back.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import asyncpg

from core.domain.ids import JobId
from core.domain.job_state import Priority
from core.queue.connect import RedisClient, connect
from core.queue.keys import IN_PROGRESS, PAYLOAD, Keys, Lane, job_member, lane_of
from core.settings import Settings

# A submit does not wait for its enqueue, which may still be on its way.
_ENQUEUE_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.05
# What is not due yet has its place in PostgreSQL alone: the sweep enqueues it in time.
_ROWS: Final = """
SELECT id, state, priority FROM jobs
WHERE state = 'queued' AND run_at <= now() OR state = 'running' AND NOT EXISTS (
    SELECT FROM workers
    WHERE workers.id = jobs.worker_id AND dead_at IS NULL AND workers.lease_expires_at > now()
)
ORDER BY id
"""


async def aftermath(owner: "asyncpg.Pool[asyncpg.Record]", used: Sequence[Settings]) -> list[str]:
    """Every problem in words. `used` are the settings whose Redis may have the jobs."""
    clients = [(connect(settings.redis), Keys(settings.redis.prefix)) for settings in used]
    try:
        left = await _nobodys_jobs(owner, clients)
        for _ in range(int(_ENQUEUE_SECONDS / _PAUSE_SECONDS)):
            if not left:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
            left = await _nobodys_jobs(owner, clients)
        return left + [problem for client in clients for problem in await _keys_for_ever(*client)]
    finally:
        for redis, _ in clients:
            await redis.aclose(close_connection_pool=True)


async def _nobodys_jobs(
    owner: "asyncpg.Pool[asyncpg.Record]", clients: Collection[tuple[RedisClient, Keys]]
) -> list[str]:
    """Jobs that have not ended, and have neither a live lease nor a place in the queue."""
    found = []
    for row in await owner.fetch(_ROWS):
        member, lane = job_member(JobId(row["id"])), lane_of(Priority(row["priority"]))
        places = [await redis.zscore(keys.lane(lane), member) for redis, keys in clients]
        if row["state"] == "running":
            found.append(f"{member} is running, and its worker is dead")
        elif all(place is None for place in places):
            found.append(f"{member} is queued, and has no place in {lane}")
    return found


async def _keys_for_ever(redis: RedisClient, keys: Keys) -> list[str]:
    """Keys without a TTL, but for those that core/queue/keys.py says have none."""
    documented = {keys.epoch.encode(), *(keys.lane(lane).encode() for lane in Lane)}
    members = [member for lane in Lane for member in await redis.zrange(keys.lane(lane), 0, -1)]
    names = [name async for name in redis.scan_iter(match=f"{keys.prefix}:*", count=1000)]
    names += [prefix.encode() + member for member in members for prefix in (PAYLOAD, IN_PROGRESS)]
    return [
        f"{name.decode(errors='replace')} has no TTL"
        for name in names
        if name not in documented and await redis.pttl(name) == -1
    ]
