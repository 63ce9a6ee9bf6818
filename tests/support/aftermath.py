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
from core.queue.connect import RedisClient
from core.queue.keys import IN_PROGRESS, PAYLOAD, Keys, Lane, job_member, lane_of
from tests.support.invariants import keys_without_end

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
_EMPTY: Final = """
for i = 2, #KEYS do
    for _, member in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
        redis.call('DEL', ARGV[1] .. member, ARGV[2] .. member)
    end
end
redis.call('DEL', unpack(KEYS))
"""


async def aftermath(owner: "asyncpg.Pool[asyncpg.Record]", redis: RedisClient, used: Sequence[Keys]) -> list[str]:
    """Every problem in words. `used` are the keys under which the jobs may wait."""
    left = await _nobodys_jobs(owner, redis, used)
    for _ in range(int(_ENQUEUE_SECONDS / _PAUSE_SECONDS)):
        if not left:
            break
        await asyncio.sleep(_PAUSE_SECONDS)
        left = await _nobodys_jobs(owner, redis, used)
    return left + [f"{name} has no TTL" for keys in used for name in sorted(await keys_without_end(redis, keys))]


async def empty_queue(redis: RedisClient, keys: Keys) -> None:
    """Forgets what waits and what is held in its lanes."""
    await redis.register_script(_EMPTY)(
        keys=[keys.epoch, *(keys.lane(lane) for lane in Lane)], args=[PAYLOAD, IN_PROGRESS]
    )


async def _nobodys_jobs(owner: "asyncpg.Pool[asyncpg.Record]", redis: RedisClient, used: Collection[Keys]) -> list[str]:
    """Jobs that have not ended, and have neither a live lease nor a place in the queue."""
    found = []
    for row in await owner.fetch(_ROWS):
        member, lane = job_member(JobId(row["id"])), lane_of(Priority(row["priority"]))
        places = [await redis.zscore(keys.lane(lane), member) for keys in used]
        if row["state"] == "running":
            found.append(f"{member} is running, and its worker is dead")
        elif all(place is None for place in places):
            found.append(f"{member} is queued, and has no place in {lane}")
    return found
