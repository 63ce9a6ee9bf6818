"""Every hot statement touches what it is asked for and no more, in tables of 50,000 jobs, whatever the planner knows.

Asked of EXPLAIN ANALYZE: the rows that were looked at, which no noise of the machine changes. Once with the statistics
that autovacuum makes, and once without any, as in the first minutes of a new installation.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlmodel import col, select

from bench.seed import fill
from core.access.tenants import create_tenant
from core.db.engine import Database, driver_url, hot_settings, open_database
from core.db.sealed import make_sealer
from core.db.statements import Statement
from core.db.tables import JobRow
from core.domain import transitions
from core.domain.ids import JobId, TenantId
from core.domain.job_state import JobState
from core.jobs import queries, store
from core.jobs.prune import PRUNE_JOBS
from core.jobs.queries import JobFilter
from core.jobs.reconcile import DUE
from core.jobs.records import Change, ClaimedJob, JobKey, NewJob, Run
from core.jobs.sweep import LOST_RUNS, PASSED_DEADLINES
from core.settings import DatabaseSettings
from tests.support.jobs import UNSEALED_OUTPUT, answer, new_job
from tests.support.servers import Servers, open_database_copy, owner_url
from tests.support.workers import keep_alive

QUEUED, FINISHED, TENANTS = 8_000, 42_000, 5
BATCH = 100
# How many rows one node of a plan may look at: each of the batch a few times (an index may hold dead versions of it),
# and the batch compared with itself. A scan of any table is more.
MOST = BATCH * 4 + BATCH * BATCH
# Of every job, a pair that half of them have and one of its own.
PAIRS = """
INSERT INTO job_metadata (job_id, tenant_id, key, value)
SELECT id, tenant_id, 'half', CASE WHEN number % 2 = 0 THEN 'a' ELSE 'b' END FROM numbered
UNION ALL SELECT id, tenant_id, 'own', number::text FROM numbered
ON CONFLICT DO NOTHING
""".replace("numbered", "(SELECT id, tenant_id, row_number() OVER (ORDER BY id) AS number FROM jobs) AS numbered")
BEGINNING = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


@dataclass(frozen=True)
class Filled:
    """50,000 jobs, of which BATCH are claimed, as a worker sees them."""

    fleet: Database
    tenant_id: TenantId
    queued: Sequence[JobKey]
    finished: Sequence[JobKey]
    claimed: Sequence[ClaimedJob]


@asynccontextmanager
async def _filled(servers: Servers, template: str, *, analyze: bool) -> AsyncIterator[Filled]:
    async with open_database_copy(servers, template=template) as settings:
        await _fill(settings, analyze=analyze)
        async with await open_database(settings, name="plans", fleet=True) as fleet:
            yield await _claim_some(fleet)


@pytest.fixture(scope="module")
async def filled(servers: Servers, template: str) -> AsyncIterator[Filled]:
    async with _filled(servers, template, analyze=True) as opened:
        yield opened


@pytest.fixture(scope="module")
async def unknown(servers: Servers, template: str) -> AsyncIterator[Filled]:
    """As `filled`, and PostgreSQL has no statistics of it."""
    async with _filled(servers, template, analyze=False) as opened:
        yield opened


@dataclass(frozen=True)
class Grown:
    """As `unknown`, with a connection that has made its plans while the tables were almost empty, as statistics said."""

    filled: Filled
    connection: "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture(scope="module")
async def grown(servers: Servers, template: str) -> AsyncIterator[Grown]:
    async with open_database_copy(servers, template=template) as settings:
        url, own = driver_url(settings.url.get_secret_value()), hot_settings(settings, name="plans", fleet=True)
        connection = await asyncpg.connect(url, server_settings=own)
        try:
            # Nobody tells this session that the tables have grown: that is autovacuum's, some minutes later.
            await _fill(settings, queued=5, finished=20, analyze=True)
            for table in ("jobs", "attempts", "results"):
                await _owner(settings, f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            for statement in (*BY_KEY, *BY_INDEX):
                name = name_of(statement)
                await connection.execute(f"PREPARE {name} AS {statement.text}")
                nulls = ", ".join(f"NULL::{each}" for each in await _types(connection, name))
                await connection.execute(f"EXPLAIN EXECUTE {name} ({nulls})")
            await _fill(settings, analyze=False, keep_indexes=True)
            async with await open_database(settings, name="plans", fleet=True) as fleet:
                yield Grown(await _claim_some(fleet), connection)
        finally:
            await connection.close()


async def _types(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> list[str]:
    query = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = $1"
    return list(await connection.fetchval(query, name))


async def _owner(settings: DatabaseSettings, command: str) -> None:
    connection = await asyncpg.connect(owner_url(settings))
    try:
        await connection.execute(command)
    finally:
        await connection.close()


async def _fill(
    settings: DatabaseSettings,
    *,
    analyze: bool,
    keep_indexes: bool = False,
    queued: int = QUEUED,
    finished: int = FINISHED,
) -> None:
    async with await open_database(settings, name="plans", fleet=True) as database:
        tenants = [
            await create_tenant(database, make_sealer(None), f"tenant-{queued}-{number}") for number in range(TENANTS)
        ]
    connection = await asyncpg.connect(owner_url(settings))
    try:
        await fill(
            connection,
            tenants,
            queued=queued,
            finished=finished,
            detailed_every=2 if analyze else 10,
            analyze=analyze,
            keep_indexes=keep_indexes,
        )
        await connection.execute("SET app.fleet = 'on'")
        await connection.execute(PAIRS)
        if analyze:
            await connection.execute("VACUUM (ANALYZE) job_metadata")
    finally:
        await connection.close()


async def _claim_some(fleet: Database) -> Filled:
    async with fleet.pool.acquire() as connection:
        sampled = {
            state: [
                JobKey(JobId(row["id"]), TenantId(row["tenant_id"]))
                for row in await connection.fetch(
                    "SELECT id, tenant_id FROM jobs WHERE state = $1 ORDER BY id DESC LIMIT 1000", state
                )
            ]
            for state in ("queued", "succeeded")
        }
        ids = [job.id for job in sampled["queued"][:BATCH]]
        await keep_alive(connection, "worker")
        claimed = await store.claim(connection, ids, worker_id="worker")
        assert all(isinstance(each, ClaimedJob) for each in claimed)
    return Filled(
        fleet=fleet,
        tenant_id=sampled["queued"][0].tenant_id,
        queued=sampled["queued"][BATCH:],
        finished=sampled["succeeded"],
        claimed=[each for each in claimed if isinstance(each, ClaimedJob)],
    )


def touched(plan: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Each node's name, and how many rows it looked at: those that it passed on and those that it threw away."""
    rows = sum(
        plan.get(name, 0) for name in ("Actual Rows", *(each for each in plan if each.startswith("Rows Removed")))
    )
    yield f"{plan['Node Type']} {plan.get('Relation Name', '')}".strip(), round(rows * plan["Actual Loops"])
    for inner in plan.get("Plans", ()):
        yield from touched(inner)


async def touched_by_plan(grown: Grown, name: str, *arguments: object) -> list[tuple[str, int]]:
    """What the plan touches that the session made for the prepared statement. What the statement did is undone."""
    connection, given = grown.connection, list[str]()
    transaction = connection.transaction()
    await transaction.start()
    try:
        for number, (kind, value) in enumerate(zip(await _types(connection, name), arguments, strict=True)):
            if value is None:
                given.append(f"NULL::{kind}")
            else:
                # Its own text form, by way of a setting: EXECUTE takes no parameters.
                await connection.execute(f"SELECT set_config('plan.p{number}', $1::{kind}::text, true)", value)
                given.append(f"current_setting('plan.p{number}')::{kind}")
        wrapped = f" ({', '.join(given)})" if given else ""
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE {name}{wrapped}"
        (row,) = await connection.fetch(explain)
    finally:
        await transaction.rollback()
    (explained,) = json.loads(row[0])
    return list(touched(explained["Plan"]))


async def most_touched(filled: Filled, sql: str, *arguments: object) -> tuple[str, int]:
    """The node that looked at most rows. What the statement did is undone."""
    async with filled.fleet.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            (row,) = await connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", *arguments)
        finally:
            await transaction.rollback()
    (explained,) = json.loads(row[0])
    return max(touched(explained["Plan"]), key=lambda node: node[1])


def successes(filled: Filled) -> list[Change]:
    succeeded = transitions.succeed(answer())
    return [
        Change(job.id, job.tenant_id, succeeded, job.run_no, job.lease_token, UNSEALED_OUTPUT) for job in filled.claimed
    ]


def inserts(filled: Filled) -> list[NewJob]:
    return [new_job(filled.tenant_id, idempotency_key=f"key-{number}", fingerprint=b"x") for number in range(BATCH)]


# Each statement with its arguments for BATCH jobs.
BY_KEY: dict[Statement[Any], Callable[[Filled], Sequence[object]]] = {
    store.INSERT: lambda filled: store.INSERT.arguments(inserts(filled), key_seconds=3600.0),
    store.HELD_KEYS: lambda filled: store.HELD_KEYS.arguments(
        [store.IdempotencyKey(filled.tenant_id, f"key-{number}") for number in range(BATCH)]
    ),
    store.CLAIM: lambda filled: store.CLAIM.arguments(
        job_ids=[job.id for job in filled.queued[:BATCH]], worker_id="worker"
    ),
    store.CALLED: lambda filled: store.CALLED.arguments(
        [Run(job.id, job.tenant_id, job.run_no) for job in filled.claimed]
    ),
    store.RUNS_OF_WORKER: lambda _: store.RUNS_OF_WORKER.arguments(worker_id="worker", job_ids=None),
    store.UNCHANGED: lambda filled: store.UNCHANGED.arguments([store._guard(each) for each in successes(filled)]),
    store.APPLY: lambda filled: store.APPLY.arguments([store._changed_row(each) for each in successes(filled)]),
    store.SUCCEED: lambda filled: store.SUCCEED.arguments([store._succeeded_row(each) for each in successes(filled)]),
    queries.GET: lambda filled: queries.GET.arguments(filled.finished[:BATCH]),
    store.DELETE: lambda filled: store.DELETE.arguments(filled.finished[:BATCH]),
    store.HELD_JOBS: lambda filled: store.HELD_JOBS.arguments(
        tenant_id=filled.tenant_id, job_ids=[job.id for job in filled.queued[:BATCH]]
    ),
}
# Each statement that looks for rows by itself, at most BATCH of them.
BY_INDEX: dict[Statement[Any], Sequence[object]] = {
    DUE: DUE.arguments(lane="standard", most=BATCH, after_time=BEGINNING[0], after_id=BEGINNING[1]),
    LOST_RUNS: LOST_RUNS.arguments([], most=BATCH, worker_id=""),
    PASSED_DEADLINES: PASSED_DEADLINES.arguments(most=BATCH),
    PRUNE_JOBS: PRUNE_JOBS.arguments(state="succeeded", seconds=3600.0, most=BATCH),
}


def name_of(statement: Statement[Any]) -> str:
    return PurePosixPath(statement.path).stem


@pytest.mark.parametrize("statement", BY_KEY, ids=name_of)
async def test_rows_are_found_by_their_keys(filled: Filled, statement: Statement[Any]) -> None:
    node, rows = await most_touched(filled, statement.text, *BY_KEY[statement](filled))

    assert rows <= MOST, node


@pytest.mark.parametrize("statement", BY_KEY, ids=name_of)
async def test_rows_are_found_by_their_keys_without_statistics(unknown: Filled, statement: Statement[Any]) -> None:
    node, rows = await most_touched(unknown, statement.text, *BY_KEY[statement](unknown))

    assert rows <= MOST, node


@pytest.mark.parametrize("statement", [*BY_KEY, *BY_INDEX], ids=name_of)
async def test_a_plan_that_was_made_for_empty_tables_is_good_for_full_ones(
    grown: Grown, statement: Statement[Any]
) -> None:
    """So that no statement has to be prepared anew: its generic plan goes by the indexes, whatever the tables held."""
    arguments = BY_KEY[statement](grown.filled) if statement in BY_KEY else BY_INDEX[statement]
    nodes = await touched_by_plan(grown, name_of(statement), *arguments)

    assert max(rows for _, rows in nodes) <= MOST, nodes
    # A handful of workers is all that may be read as a whole.
    assert {node for node, _ in nodes if node.startswith("Seq Scan")} <= {"Seq Scan workers"}


@pytest.mark.parametrize("statement", BY_INDEX, ids=name_of)
async def test_rows_are_found_by_an_index_of_their_own(filled: Filled, statement: Statement[Any]) -> None:
    node, rows = await most_touched(filled, statement.text, *BY_INDEX[statement])

    assert rows <= MOST, node


@pytest.mark.parametrize(
    "wanted",
    [
        JobFilter(),
        JobFilter(states=(JobState.FAILED,)),
        JobFilter(states=(JobState.QUEUED, JobState.RUNNING)),
        JobFilter(created_after=BEGINNING[0]),
        JobFilter(created_before=datetime.now(UTC) - timedelta(days=50)),
        JobFilter(metadata=(("half", "a"),)),
        JobFilter(metadata=(("own", "30000"),)),
        JobFilter(metadata=(("own", "none"),)),
        JobFilter(metadata=(("half", "a"), ("own", "30000"))),
        JobFilter(metadata=(("half", "a"),), states=(JobState.FAILED,)),
        JobFilter(metadata=(("half", "a"),), states=(JobState.RUNNING,)),
        JobFilter(metadata=(("half", "a"),), created_before=datetime.now(UTC) - timedelta(days=50)),
    ],
    ids=[
        "all",
        "failed",
        "active",
        "by time",
        "old",
        "half",
        "own",
        "none",
        "half and own",
        "half and failed",
        "half and running",
        "half and old",
    ],
)
async def test_a_page_of_a_list_reads_a_page(filled: Filled, wanted: JobFilter) -> None:
    query = queries._narrowed(select(JobRow).with_only_columns(col(JobRow.id)), filled.tenant_id, wanted, None)
    sql = query.limit(21).compile(dialect=filled.fleet.engine.dialect, compile_kwargs={"literal_binds": True})

    node, rows = await most_touched(filled, str(sql))

    # A state that is one in twenty is found by its own index, or among the newest of all.
    assert rows <= 21 * 40, node


async def test_a_scan_of_a_table_would_be_seen(filled: Filled) -> None:
    _, rows = await most_touched(filled, "SELECT count(*) FROM jobs WHERE worker_id = 'nobody'")

    assert rows > QUEUED
