"""Runtimes that many small proofs share; each puts what it changes in their place."""

from collections.abc import AsyncIterator

import pytest

from core.runtime import ApiRuntime, WorkerRuntime, open_api, open_worker
from core.settings import DatabaseSettings, Settings
from tests.conftest import MakeSettings, OwnerPool
from tests.proofs.fault_stage import FaultStage, open_fault_stage
from tests.proofs.fork_server import ForkServer, open_fork_server
from tests.support.tenants import Tenant
from tests.support.workers import enlist


@pytest.fixture(scope="session")
async def shared_runtimes(shared_settings: Settings) -> AsyncIterator[tuple[ApiRuntime, WorkerRuntime]]:
    """An API's and a worker's, with nothing running."""
    async with open_api(shared_settings) as api, open_worker(shared_settings) as worker:
        await enlist(worker)
        yield api, worker


@pytest.fixture
async def stage(
    make_settings: MakeSettings, shared_database: DatabaseSettings, tenant: Tenant, owner: OwnerPool
) -> AsyncIterator[FaultStage]:
    """An API, a worker, a provider and a receiver."""
    async with open_fault_stage(make_settings, shared_database, tenant, owner) as opened:
        yield opened


@pytest.fixture(scope="session")
async def fork_server() -> AsyncIterator[ForkServer]:
    """Starts processes that die where their order says."""
    async with open_fork_server() as opened:
        yield opened
