"""Databases for tests that write statements of their own: as the API sees rows, and as the fleet does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from core.db.engine import Database, open_database
from core.domain.ids import JobId
from core.jobs.records import ClaimedJob
from core.runtime import ApiRuntime, WorkerRuntime
from core.settings import DatabaseSettings, Settings
from tests.conftest import OwnerPool
from tests.support import jobs
from tests.support.tenants import Tenant


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Here statements are tried by themselves: nobody enqueues the rows that they leave."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.untidy)


@pytest.fixture(scope="session")
async def database_of_api(shared_database: DatabaseSettings) -> AsyncIterator[Database]:
    async with await open_database(shared_database, name="api", fleet=False) as opened:
        yield opened


@pytest.fixture(scope="session")
async def database_of_fleet(shared_database: DatabaseSettings) -> AsyncIterator[Database]:
    async with await open_database(shared_database, name="worker", fleet=True) as opened:
        yield opened


@pytest.fixture
def database(clean: list[Settings], database_of_api: Database) -> Database:
    """As the API opens it: sees the tenants that a transaction names."""
    return database_of_api


@pytest.fixture
def fleet(clean: list[Settings], database_of_fleet: Database) -> Database:
    """As a worker opens it: sees all tenants."""
    return database_of_fleet


@pytest.fixture
async def claimed(api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, tenant: Tenant) -> ClaimedJob:
    """A job that a worker has claimed."""
    job = await jobs.submit(api_runtime.jobs, tenant.id)
    found = await worker_runtime.jobs.group_commit.claim(job.id)
    assert isinstance(found, ClaimedJob)
    return found


class Rows:
    """Rows as the owner sees them."""

    def __init__(self, owner: OwnerPool) -> None:
        self._owner = owner

    async def job(self, job_id: JobId) -> asyncpg.Record:
        found = await self._owner.fetchrow("SELECT * FROM jobs WHERE id = $1", job_id)
        assert found is not None
        return found

    async def attempts(self, job_id: JobId) -> list[asyncpg.Record]:
        return await self._owner.fetch("SELECT * FROM attempts WHERE job_id = $1 ORDER BY run_no", job_id)

    async def deliveries(self, job_id: JobId) -> list[asyncpg.Record]:
        return await self._owner.fetch("SELECT * FROM deliveries WHERE job_id = $1 ORDER BY url", job_id)

    async def count(self, table: str) -> int:
        return int(await self._owner.fetchval(f"SELECT count(*) FROM {table}"))

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that jobs are made of, to see that nothing was written."""
        tables = ("jobs", "attempts", "results", "deliveries", "idempotency", "deleted_jobs")
        return {
            table: [tuple(row.values()) for row in await self._owner.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]
            for table in tables
        }


@pytest.fixture
def rows(owner: OwnerPool) -> Rows:
    return Rows(owner)
