"""What must hold in PostgreSQL and Redis when everything has ended, whatever happened on the way.

Each query finds the rows that break one rule. Used by tests/chaos/history.py, whose jobs are never retried by hand.
"""

import asyncpg
from redis.asyncio import Redis

from core.queue.keys import IN_PROGRESS, JOB_LANES, Keys, Lane

_RULES = {
    "every job has ended": "SELECT id FROM jobs WHERE state IN ('queued', 'running')",
    "what has ended has a time, and nobody's lease": """
        SELECT id FROM jobs
        WHERE finished_at IS NULL OR lease_token IS NOT NULL OR lease_expires_at IS NOT NULL OR worker_id IS NOT NULL
    """,
    "a success is one, and only of a job that succeeded": """
        SELECT id FROM jobs WHERE (state = 'succeeded')::int <>
            (SELECT count(*) FROM attempts WHERE job_id = jobs.id AND outcome = 'succeeded')
    """,
    "an answer is stored once, by the run that gave it": """
        SELECT id FROM jobs WHERE (state = 'succeeded')::int <>
            (SELECT count(*) FROM results WHERE job_id = jobs.id AND results.run_no = jobs.run_no)
    """,
    # Of older ones, those that were snoozed and cost nothing are forgotten.
    "the last 20 runs are numbered without a gap": """
        SELECT id FROM jobs LEFT JOIN attempts ON job_id = jobs.id AND attempts.run_no > jobs.run_no - 20
        GROUP BY id, jobs.run_no
        HAVING count(job_id) <> least(jobs.run_no, 20) OR coalesce(max(attempts.run_no), 0) <> jobs.run_no
    """,
    "what was used is what was not refunded": """
        SELECT id FROM jobs WHERE attempts_used <> (
            SELECT count(*) FROM attempts
            WHERE job_id = jobs.id AND outcome <> 'snoozed' AND NOT (outcome = 'unknown' AND called_at IS NULL)
        )
    """,
    "no more was used than was allowed": """
        SELECT id FROM jobs WHERE attempts_used > max_attempts
            OR EXISTS (SELECT FROM attempts WHERE job_id = jobs.id AND attempt > max_attempts)
    """,
    "no run is open": "SELECT job_id FROM attempts WHERE outcome = 'running' OR finished_at IS NULL",
    "a run that never called cost nothing": """
        SELECT job_id FROM attempts WHERE called_at IS NULL AND billed <> 'no' AND outcome <> 'succeeded'
    """,
    "two lost workers are the end": """
        SELECT id FROM jobs WHERE worker_losses > 2
            OR (worker_losses = 2 AND error_code IS DISTINCT FROM 'worker_lost')
            OR (error_code = 'worker_lost' AND worker_losses < 2 AND attempts_used < max_attempts)
    """,
    "each end was announced once, and to those who asked": """
        SELECT id FROM jobs WHERE (webhook_url IS NOT NULL)::int + (
            SELECT count(*) FROM webhook_endpoints AS endpoint
            WHERE endpoint.tenant_id = jobs.tenant_id AND 'job.' || jobs.state = ANY (endpoint.event_types)
        ) <> (
            SELECT count(*) FROM deliveries WHERE job_id = jobs.id AND event_type = 'job.' || jobs.state
        ) OR EXISTS (SELECT FROM deliveries WHERE job_id = jobs.id AND event_type <> 'job.' || jobs.state)
    """,
    "an event is one": "SELECT job_id FROM deliveries GROUP BY job_id HAVING count(DISTINCT event_id) > 1",
}


async def broken_rules(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, list[str]]:
    """The rules that do not hold, and whose rows break them."""
    broken = {}
    for rule, query in _RULES.items():
        if rows := await connection.fetch(query):
            broken[rule] = [str(row[0]) for row in rows]
    return broken


async def left_in_redis(redis: Redis, keys: Keys) -> dict[str, int]:
    """What should be gone when nothing waits and nothing runs; and keys that nothing will ever remove."""
    left = {lane.value: int(await redis.zcard(keys.lane(lane))) for lane in JOB_LANES}
    left["holds"] = len([key async for key in redis.scan_iter(f"{IN_PROGRESS}job_*")])
    lasting = {keys.epoch.encode(), *(keys.lane(lane).encode() for lane in Lane)}
    left["without a TTL"] = len(
        [key async for key in redis.scan_iter() if key not in lasting and await redis.ttl(key) == -1]
    )
    return {name: count for name, count in left.items() if count}
