"""Databases for tests that write statements of their own: as the API sees rows, and as the fleet does."""

from typing import Any

import asyncpg
import pytest

from core.db.engine import Database
from core.domain.ids import JobId
from core.runtime import ApiRuntime, WorkerRuntime
from tests.conftest import OwnerPool


@pytest.fixture
def database(api_runtime: ApiRuntime) -> Database:
    """An API's: sees the tenants that a transaction names."""
    return api_runtime.database


@pytest.fixture
def fleet(worker_runtime: WorkerRuntime) -> Database:
    """A worker's: sees all tenants."""
    return worker_runtime.database


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
