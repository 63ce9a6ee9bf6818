"""Traffic on the tables that grow while a migration runs, and what to say against a migration afterwards.

Traffic is the statements of the release before, reduced to what they lock: insert, claim, finish. Each gives up when it
has waited for a lock for a second, so PostgreSQL is the judge and not this process's clock. What small tables would
not show is asked of PostgreSQL too: whether a table was written anew, and whether rows were read under a lock that
stops traffic, which takes as long as the table is large.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from core.db.engine import APP_ROLE
from core.settings import DatabaseSettings
from tests.support.servers import owner_url
from tests.support.waiting import eventually

HOT: Final = ("attempts", "deleted_jobs", "deliveries", "delivery_attempts", "idempotency", "jobs", "results")
_WRITERS: Final = 3
_LONGEST_SECONDS: Final = 1.0
_LONGEST: Final = "1s"
_TENANT: Final = "00000000-0000-7000-8000-000000000001"

_SEED: Final = f"""
INSERT INTO tenants (id, name, webhook_secret) VALUES ('{_TENANT}', 'busy', 'x');
INSERT INTO jobs (id, tenant_id, model, request, priority, run_at, timeout_seconds, max_attempts)
SELECT inferd_uuid7(), '{_TENANT}', 'echo/echo', 'x', 'standard', now(), 60, 5 FROM generate_series(1, %(rows)s);
INSERT INTO attempts (job_id, tenant_id, run_no, attempt, worker_id, provider)
SELECT id, tenant_id, 1, 1, 'worker', 'echo' FROM jobs;
INSERT INTO results (job_id, tenant_id, run_no, output) SELECT id, tenant_id, 1, 'x' FROM jobs LIMIT 1000;
INSERT INTO deleted_jobs (id, tenant_id) SELECT id, tenant_id FROM jobs LIMIT 1000;
INSERT INTO idempotency (tenant_id, key, fingerprint, job_id, expires_at)
SELECT tenant_id, id::text, 'x', id, now() FROM jobs LIMIT 1000;
INSERT INTO deliveries (id, tenant_id, job_id, event_id, event_type, url, body)
SELECT inferd_uuid7(), tenant_id, id, inferd_uuid7(), 'job.succeeded', 'https://example.com/hook', 'x' FROM jobs;
INSERT INTO delivery_attempts (delivery_id, tenant_id, attempt, trigger, started_at, worker_id)
SELECT id, tenant_id, 1, 'scheduled', now(), 'worker' FROM deliveries LIMIT 1000;
ANALYZE;
"""
_TRAFFIC: Final = {
    "insert": f"""
        INSERT INTO jobs (id, tenant_id, model, request, priority, run_at, timeout_seconds, max_attempts)
        VALUES (inferd_uuid7(), '{_TENANT}', 'echo/echo', 'x', 'interactive', now(), 60, 5)
    """,
    "claim": """
        WITH claimed AS (
            UPDATE jobs SET state = 'running', run_no = run_no + 1, attempts_used = attempts_used + 1,
                lease_token = gen_random_uuid(), lease_expires_at = now() + interval '30 s', worker_id = 'w',
                version = version + 1
            WHERE (id, tenant_id) IN (
                SELECT id, tenant_id FROM jobs WHERE state = 'queued' AND priority = 'interactive'
                ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING id, tenant_id, run_no, attempts_used
        )
        INSERT INTO attempts (job_id, tenant_id, run_no, attempt, worker_id, provider)
        SELECT id, tenant_id, run_no, attempts_used, 'worker', 'echo' FROM claimed
    """,
    "finish": """
        WITH finished AS (
            UPDATE jobs SET state = 'succeeded', finished_at = now(), lease_token = NULL, lease_expires_at = NULL,
                worker_id = NULL
            WHERE (id, tenant_id) IN (SELECT id, tenant_id FROM jobs WHERE state = 'running' LIMIT 1 FOR UPDATE)
            RETURNING id, tenant_id
        )
        INSERT INTO deliveries (id, tenant_id, job_id, event_id, event_type, url, body)
        SELECT inferd_uuid7(), tenant_id, id, inferd_uuid7(), 'job.succeeded', 'https://example.com/hook', 'x'
        FROM finished
    """,
    # Rows of long ago, which a backfill changes at the same time.
    "touch": "UPDATE deliveries SET attempts = 1 WHERE ctid = (SELECT ctid FROM deliveries OFFSET 7 LIMIT 1)",
}
_WATCH: Final = """
CREATE TABLE what_the_migration_did (fault text NOT NULL);
GRANT ALL ON what_the_migration_did TO PUBLIC;
CREATE FUNCTION note_start() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('watch.' || relname, seq_tup_read::text, false) FROM pg_stat_xact_user_tables;
END $$;
CREATE FUNCTION note_end() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO what_the_migration_did
    SELECT format('%s read rows of %s under %s', tg_tag, relname, mode)
    FROM pg_locks JOIN pg_stat_xact_user_tables ON relid = relation
    WHERE pid = pg_backend_pid() AND granted AND relname = ANY ('{HOT}')
        AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        AND seq_tup_read > coalesce(nullif(current_setting('watch.' || relname, true), ''), '0')::bigint;
END $$;
CREATE FUNCTION note_rewrite() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO what_the_migration_did
    SELECT format('%s wrote %s anew', tg_tag, pg_event_trigger_table_rewrite_oid()::regclass)
    WHERE pg_event_trigger_table_rewrite_oid()::regclass::text = ANY ('{HOT}');
END $$;
CREATE EVENT TRIGGER watch_start ON ddl_command_start EXECUTE FUNCTION note_start();
CREATE EVENT TRIGGER watch_end ON ddl_command_end EXECUTE FUNCTION note_end();
CREATE EVENT TRIGGER watch_rewrite ON table_rewrite EXECUTE FUNCTION note_rewrite();
""".replace("{HOT}", "{" + ",".join(HOT) + "}")
_STRONG: Final = """
SELECT format('%s on %s', mode, relation::regclass) AS lock, virtualtransaction AS holder FROM pg_locks
WHERE granted AND relation::regclass::text = ANY ($1) AND pid <> pg_backend_pid()
    AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_UNWATCH: Final = """
DROP EVENT TRIGGER watch_start; DROP EVENT TRIGGER watch_end; DROP EVENT TRIGGER watch_rewrite;
DROP FUNCTION note_start, note_end, note_rewrite; DROP TABLE what_the_migration_did;
"""


@dataclass
class Observed:
    """What the traffic met. `longest` is by statement, in seconds of this process."""

    faults: list[str] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)
    done: int = 0


async def seed(settings: DatabaseSettings, rows: int) -> None:
    """Fills the tables that grow; the schema is 0002 or newer."""
    async with _connected(settings) as connection:
        await connection.execute(_SEED % {"rows": rows})


@asynccontextmanager
async def traffic(settings: DatabaseSettings) -> AsyncIterator[Observed]:
    """Writes as long as this is open; afterwards `faults` says what a migration did wrong meanwhile."""
    observed, stop = Observed(), asyncio.Event()
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(_connected(settings))
        await owner.execute(_WATCH)
        writers = [
            await stack.enter_async_context(_connected(settings, role=APP_ROLE, lock_timeout=_LONGEST))
            for _ in range(_WRITERS)
        ]
        async with asyncio.TaskGroup() as tasks:
            for writer in writers:
                tasks.create_task(_write(writer, observed, stop))
            tasks.create_task(_watch_locks(owner, observed, stop))
            try:
                await eventually(lambda: observed.done > len(_TRAFFIC) * _WRITERS, what="the traffic flows")
                yield observed
            finally:
                stop.set()
        observed.faults += [row["fault"] for row in await owner.fetch("SELECT * FROM what_the_migration_did")]
        await owner.execute(_UNWATCH)


async def _write(connection: "asyncpg.Connection[asyncpg.Record]", observed: Observed, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        for name, statement in _TRAFFIC.items():
            began = loop.time()
            try:
                await connection.execute(statement)
            except asyncpg.LockNotAvailableError:
                observed.faults.append(f"{name} waited for a lock for {_LONGEST}")
            observed.done += 1
            observed.longest[name] = max(observed.longest.get(name, 0.0), loop.time() - began)


async def _watch_locks(
    connection: "asyncpg.Connection[asyncpg.Record]", observed: Observed, stop: asyncio.Event
) -> None:
    """Also on tables that no statement above writes."""
    loop = asyncio.get_running_loop()
    since: dict[tuple[str, str], float] = {}
    while not stop.is_set():
        locks = [(row["lock"], row["holder"]) for row in await connection.fetch(_STRONG, HOT)]
        since = {key: since.get(key, loop.time()) for key in locks}
        kept = [lock for (lock, _), began in since.items() if loop.time() - began > _LONGEST_SECONDS]
        observed.faults += [f"held {lock} for more than {_LONGEST}" for lock in kept]
        await asyncio.sleep(0.02)


@asynccontextmanager
async def _connected(
    settings: DatabaseSettings, **server_settings: str
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(
        owner_url(settings), server_settings={"app.fleet": "on", "jit": "off", **server_settings}
    )
    try:
        yield connection
    finally:
        await connection.close()
