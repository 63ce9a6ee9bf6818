"""A provider on a socket, and settings with leases so short that a lost worker is missed within a second."""

from collections.abc import AsyncIterator

import pytest

from core.runtime import open_api
from core.settings import Settings
from tests.conformance.fake_provider import FakeProvider
from tests.conftest import MakeSettings, OwnerPool
from tests.queue.own_valkey import OwnValkey, open_valkey
from tests.support.tenants import Tenant
from tests.worker.proxy import Proxy, open_proxy
from tests.worker.stage import WorkerStage


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@pytest.fixture
def quick(make_settings: MakeSettings, fake: FakeProvider) -> Settings:
    """Its provider `fake` keeps a ledger of its calls."""
    return make_settings(
        worker={"lease_seconds": 1.0, "heartbeat_seconds": 0.25, "sweep_seconds": 0.25, "concurrency": 50},
        # An address that may not be called is refused after as long as a connect may take.
        webhook={"connect_timeout_seconds": 0.2},
        providers={"fake": {"base_url": fake.base_url}},
    )


@pytest.fixture
async def stage(quick: Settings, tenant: Tenant, owner: OwnerPool, fake: FakeProvider) -> AsyncIterator[WorkerStage]:
    """The API of `quick`."""
    async with open_api(quick) as api:
        yield WorkerStage(api, tenant, owner, fake)


@pytest.fixture
async def valkey() -> AsyncIterator[OwnValkey]:
    """A Redis of the test's own."""
    async with open_valkey() as running:
        yield running


@pytest.fixture
async def proxy(quick: Settings) -> AsyncIterator[Proxy]:
    """In front of PostgreSQL."""
    async with open_proxy(quick.database) as opened:
        yield opened
