"""Fills a migrated database with any number of jobs, inside PostgreSQL, for scenarios and for tests of plans.

Ids are UUIDv7s of the past months in the order of their times, as real ids are; tenants are of uneven size. Millions of
rows take minutes: indexes are created after the rows, and foreign keys are not checked for a superuser.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

# Rows: (id, number, tenant). `number` counts from 1, oldest first; one in three rows is the first tenant's.
_NUMBERED: Final = """
CREATE TEMPORARY TABLE numbered ON COMMIT DROP AS
SELECT
    encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send(
        ((extract(epoch FROM now()) - 86400 * 60 * (1 - number / $1::float8)) * 1000)::bigint
    ) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid AS id,
    number,
    now() - interval '60 days' * (1 - number / $1::float8) AS at,
    ($2::uuid[])[CASE WHEN number % 3 = 0 THEN 1 ELSE 1 + number % cardinality($2::uuid[]) END] AS tenant_id
FROM generate_series(1, $1::int) AS number
"""
_QUEUED: Final = """
INSERT INTO jobs (id, tenant_id, state, model, request, priority, created_at, run_at, timeout_seconds, max_attempts)
SELECT id, tenant_id, 'queued', 'echo/echo', $1,
    (ARRAY['interactive', 'standard', 'standard', 'batch'])[1 + number % 4], at, at, 600, 5
FROM numbered
"""
_FINISHED: Final = """
INSERT INTO jobs (
    id, tenant_id, state, version, model, request, priority, created_at, run_at, started_at, finished_at, queue_ms,
    timeout_seconds, max_attempts, attempts_used, run_no, input_tokens, output_tokens, error_class, error_code
)
SELECT id, tenant_id, CASE WHEN number % 20 = 0 THEN 'failed' ELSE 'succeeded' END, 3, 'echo/echo', $1, 'standard',
    at, at, at, at + interval '2 s', 5, 600, 5, 1, 1, 8, 8,
    CASE WHEN number % 20 = 0 THEN 'unavailable' END, CASE WHEN number % 20 = 0 THEN 'provider_unavailable' END
FROM numbered
"""
_ATTEMPTS: Final = """
INSERT INTO attempts (job_id, tenant_id, run_no, attempt, worker_id, provider, outcome, started_at, called_at,
    finished_at, billed)
SELECT id, tenant_id, 1, 1, 'worker', 'echo', CASE WHEN number % 20 = 0 THEN 'failed' ELSE 'succeeded' END, at, at,
    at + interval '2 s', 'yes'
FROM numbered WHERE number % $1 = 1
"""
_RESULTS: Final = """
INSERT INTO results (job_id, tenant_id, run_no, output) SELECT id, tenant_id, 1, $2 FROM numbered WHERE number % $1 = 1
"""
# Indexes that belong to no constraint.
_INDEXES: Final = """
SELECT schemaname || '.' || indexname AS name, indexdef AS definition FROM pg_indexes
WHERE tablename = 'jobs' AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname)
"""
REQUEST: Final = b'\x00{"messages":[{"role":"user","content":"Say hello to the reader."}],"params":{}}'
OUTPUT: Final = b'\x00{"text":"hello","message":{},"finish_reason":"stop","model":"echo"}'


async def fill(
    connection: "asyncpg.Connection[asyncpg.Record]",
    tenants: Sequence[UUID],
    *,
    queued: int,
    finished: int,
    detailed_every: int = 10,
    analyze: bool = True,
    keep_indexes: bool = False,
) -> None:
    """Inserts the jobs, as the owner. Some finished jobs have an attempt and a result. `analyze` updates statistics.

    `keep_indexes` does not invalidate the plans of open sessions, as when rows arrive one by one.
    """
    indexes = [] if keep_indexes else await connection.fetch(_INDEXES)
    async with connection.transaction():
        await connection.execute("SET LOCAL app.fleet = 'on'")
        if await connection.fetchval("SELECT current_setting('is_superuser') = 'on'"):
            await connection.execute("SET LOCAL session_replication_role = replica")
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        await connection.execute(_NUMBERED, finished, list(tenants))
        await connection.execute(_FINISHED, REQUEST)
        await connection.execute(_ATTEMPTS, detailed_every)
        await connection.execute(_RESULTS, detailed_every, OUTPUT)
        await connection.execute("DROP TABLE numbered")
        await connection.execute(_NUMBERED, queued, list(tenants))
        await connection.execute(_QUEUED, REQUEST)
        await connection.execute("SET LOCAL maintenance_work_mem = '512MB'")
        for index in indexes:
            await connection.execute(str(index["definition"]))
    if analyze:
        await connection.execute("VACUUM (ANALYZE) jobs, attempts, results")
