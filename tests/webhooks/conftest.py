"""A deployment that may call receivers on this machine, and the ways into it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import openai
import pytest

from core.settings import DatabaseSettings, Settings
from tests.conftest import settings_of
from tests.support.processes import RunningApi, RunningWorker, run_worker, serve_api
from tests.support.servers import Servers
from tests.support.tenants import Tenant

# Connects on this machine take no time, and a receiver that is not there is known after this.
LOCAL = {
    "allow_http": True,
    "allow_cidrs": ["127.0.0.0/8"],
    "retry_seconds": [0.05] * 9,
    "timeout_seconds": 3.0,
    "connect_timeout_seconds": 0.4,
}


@pytest.fixture(scope="session")
async def shared_running(shared_database: DatabaseSettings, servers: Servers) -> AsyncIterator[RunningApi]:
    """The API of all tests that have no settings of their own."""
    settings = settings_of(shared_database, servers, webhook=LOCAL, worker={"sweep_seconds": 0.3})
    async with serve_api(settings) as opened:
        yield opened


@pytest.fixture
def settings(clean: list[Settings], shared_running: RunningApi) -> Settings:
    clean.append(shared_running.settings)
    return shared_running.settings


@pytest.fixture
async def running(settings: Settings, shared_running: RunningApi, stack: AsyncExitStack) -> RunningApi:
    if settings is shared_running.settings:
        return shared_running
    return await stack.enter_async_context(serve_api(settings))


@pytest.fixture
async def api(running: RunningApi, tenant: Tenant) -> AsyncIterator[httpx2.AsyncClient]:
    async with running.client(tenant) as client:
        yield client


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[RunningWorker]:
    async with run_worker(settings) as running_worker:
        yield running_worker


@pytest.fixture
async def sdk(running: RunningApi, tenant: Tenant) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official SDK, pointed at inferd."""
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=tenant.key, max_retries=0) as client:
        yield client
