"""Time that passes at once: leases run out in PostgreSQL and in Redis, and what waits is due."""

from collections.abc import Sequence
from typing import Any

from core.queue.connect import RedisClient
from core.queue.keys import IN_PROGRESS, Keys, Lane
from tests.support.workers import lose_worker

_LAPSE = """
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('ZADD', KEYS[1], 0, member)
    redis.call('DEL', ARGV[1] .. member)
end
"""


async def lapse_leases(owner: Any) -> None:
    """Of jobs and of deliveries, as seen by the schema's owner."""
    past = "now() - interval '1 s'"
    await lose_worker(owner)
    await owner.execute(f"UPDATE deliveries SET lease_expires_at = {past} WHERE lease_token IS NOT NULL")


async def lapse_redis(redis: RedisClient, keys: Keys) -> None:
    """The holds of every worker have run out, and every wait is over."""
    for lane in Lane:
        await redis.register_script(_LAPSE)(keys=[keys.lane(lane)], args=[IN_PROGRESS])


async def merge_lanes(redis: RedisClient, keys: Keys, others: Sequence[Keys]) -> None:
    """Puts what waits in the lanes of others into `keys`' own."""
    for lane in Lane:
        for other in others:
            await redis.zunionstore(keys.lane(lane), [keys.lane(lane), other.lane(lane)], aggregate="MAX")
            await redis.delete(other.lane(lane))
