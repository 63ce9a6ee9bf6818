"""Thousands of jobs run, and statistics are from a time when none did: the sweep's statements touch what they return.

Autovacuum looks at a table again when a tenth of it has changed, and what runs is seldom a tenth of a table.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from core.db.engine import driver_url, hot_settings, open_database
from core.db.statements import Statement
from core.domain.job_state import JobState
from core.jobs.reconcile import DUE_HEADS
from core.jobs.sweep import ADOPT_UNKNOWN_WORKERS, LOST_RUNS
from tests.stores.test_plans import Filled, Grown, _fill, _owner, name_of, touched_by_plan
from tests.support.servers import Servers, open_database_copy, owner_url

RUNNING, WORKERS, BATCH = 3_000, 30, 100
_WORKERS = """
INSERT INTO workers (id, lease_expires_at, dead_at)
SELECT 'worker-' || number, now() + interval '1 hour', CASE WHEN number = 0 THEN now() END
FROM generate_series(0, $1::int - 1) AS number
"""
_RUN = """
UPDATE jobs SET state = 'running', run_no = 1, attempts_used = 1, lease_token = gen_random_uuid(),
    worker_id = 'worker-' || chosen.number % $2::int
FROM (SELECT id, row_number() OVER () AS number FROM jobs WHERE state = 'queued' ORDER BY id LIMIT $1) AS chosen
WHERE jobs.id = chosen.id
"""

# What each is given, and how many rows a node of its plan may touch.
STATEMENTS: dict[Statement[Any], tuple[Sequence[object], int]] = {
    # Those of the dead worker.
    LOST_RUNS: (LOST_RUNS.arguments([], most=BATCH, worker_id=""), 2 * BATCH),
    # What runs is counted once, for all tenants together.
    DUE_HEADS: (
        DUE_HEADS.arguments(
            lane="standard", after_tenant=UUID(int=0), tenants=200, jobs_each=BATCH, running=JobState.RUNNING
        ),
        RUNNING + BATCH,
    ),
    ADOPT_UNKNOWN_WORKERS: ([], WORKERS**2),
}


@pytest.fixture(scope="module")
async def crowded(servers: Servers, template: str) -> AsyncIterator[Grown]:
    async with open_database_copy(servers, template=template) as settings:
        await _owner(settings, "ALTER TABLE jobs SET (autovacuum_enabled = off)")
        await _fill(settings, analyze=True, queued=RUNNING + 1000, finished=30_000)
        connection = await asyncpg.connect(owner_url(settings), server_settings={"app.fleet": "on"})
        try:
            await connection.execute(_WORKERS, WORKERS)
            await connection.execute(_RUN, RUNNING, WORKERS)
            tenant_id = await connection.fetchval("SELECT tenant_id FROM jobs LIMIT 1")
        finally:
            await connection.close()
        hot = await asyncpg.connect(
            driver_url(settings.url.get_secret_value()),
            server_settings=hot_settings(settings, name="plans", fleet=True),
        )
        try:
            for statement in STATEMENTS:
                await hot.execute(f"PREPARE {name_of(statement)} AS {statement.text}")
            async with await open_database(settings, name="plans", fleet=True) as fleet:
                yield Grown(Filled(fleet, tenant_id, [], [], []), hot)
        finally:
            await hot.close()


@pytest.mark.parametrize("statement", STATEMENTS, ids=name_of)
async def test_what_runs_is_not_read_for_each_row(crowded: Grown, statement: Statement[Any]) -> None:
    """By the generic plan, which is what a worker's prepared statements have."""
    arguments, most = STATEMENTS[statement]

    nodes = await touched_by_plan(crowded, name_of(statement), *arguments)

    assert max(rows for _, rows in nodes) <= most, nodes
