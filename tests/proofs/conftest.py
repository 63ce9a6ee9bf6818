"""Runtimes that many small proofs share; each puts what it changes in their place."""

from collections.abc import AsyncIterator

import pytest

from core.runtime import ApiRuntime, WorkerRuntime, open_api, open_worker
from core.settings import DatabaseSettings, Settings
from tests.conftest import MakeSettings, OwnerPool
from tests.proofs.fault_scene import FaultScene, open_scene
from tests.proofs.nursery import Nursery, open_nursery
from tests.support.tenants import Tenant
from tests.support.workers import enlist


@pytest.fixture(scope="session")
async def shared_runtimes(shared_settings: Settings) -> AsyncIterator[tuple[ApiRuntime, WorkerRuntime]]:
    """An API's and a worker's, with nothing running."""
    async with open_api(shared_settings) as api, open_worker(shared_settings) as worker:
        await enlist(worker)
        yield api, worker


@pytest.fixture
async def scene(
    make_settings: MakeSettings, shared_database: DatabaseSettings, tenant: Tenant, owner: OwnerPool
) -> AsyncIterator[FaultScene]:
    """An API, a worker, a provider and a receiver."""
    async with open_scene(make_settings, shared_database, tenant, owner) as opened:
        yield opened


@pytest.fixture(scope="session")
async def nursery() -> AsyncIterator[Nursery]:
    """Starts processes that die where they are told to."""
    async with open_nursery() as opened:
        yield opened
