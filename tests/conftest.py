"""What every test of a store, the API or a worker stands on. Real servers; nothing is faked.

Isolation: the suite has one database of its own (tests/support/servers.py), migrated once. Each test makes tenants of
its own, and when it ends every tenant is deleted with all that belongs to it, and the queue in Redis is emptied. So a
test sees only what it made, even one that runs a worker or a sweep, which see all tenants. `make test` runs the suite in
three processes: each has a database and a Redis prefix of its own, so the same holds in each. What changes the schema
takes `fresh_database`.
"""

import gc
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeAlias

import asyncpg
import httpx2
import pytest
import structlog

from core.db import migrate
from core.process import COLLECTIONS, open_more_files
from core.queue.connect import RedisClient, connect
from core.queue.keys import Keys
from core.runtime import ApiRuntime, OperatorRuntime, WorkerRuntime, open_api, open_operator, open_worker
from core.settings import PREFIX, DatabaseSettings, Settings
from tests.support.aftermath import aftermath, empty_queue
from tests.support.explicit_settings import ExplicitSettings
from tests.support.folders import open_folder
from tests.support.processes import RunningApi, RunningWorker, run_worker, serve_api
from tests.support.servers import Servers, name_of, open_database_copy, open_servers, owner_url
from tests.support.tenants import Tenant, make_tenant
from tests.support.workers import enlist

MakeSettings = Callable[..., Settings]
MakeTenant = Callable[[], Awaitable[Tenant]]
OwnerPool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# Without colours and frames with their locals: to draw those for one traceback blocks the loop for seconds.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S.%f", utc=False),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
# Of a test's own time limit, which is a minute by default; and how many processes `make test` has.
_LONG_SECONDS, _PROCESSES = 60, 3
# A test's clients and its servers are often in this one process.
open_more_files()
# Taken out of the environment at once: no test, and no process that a test starts, sees the developer's settings.
_OURS = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(PREFIX)}
# Nor their home: the default data directory of every test and of every process that it starts lies in this folder.
_HOME = ExitStack()
os.environ["HOME"] = str(_HOME.enter_context(open_folder()))
os.environ["XDG_DATA_HOME"] = f"{os.environ['HOME']}/data"


def pytest_unconfigure() -> None:
    """Deletes the suite's home."""
    _HOME.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may take minutes begins first, one in each of the processes: nobody waits for it in the end."""
    longest = [item for item in items if any(mark.args[0] > _LONG_SECONDS for mark in item.iter_markers("timeout"))]
    rest = [item for item in items if item not in set(longest)]
    share = len(rest) // _PROCESSES + 1
    items[:] = [
        item
        for number in range(_PROCESSES)
        for item in (*longest[number::_PROCESSES], *rest[number * share : (number + 1) * share])
    ]


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: no garbage collection has to look at it again."""
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Servers]:
    """PostgreSQL and Redis: the ones that INFERD_DATABASE_URL and INFERD_REDIS_URL name, or embedded ones."""
    async with open_servers(_OURS) as found:
        yield found


@pytest.fixture(scope="session")
async def template(servers: Servers) -> AsyncIterator[str]:
    """The name of a migrated, empty database that nobody is connected to."""
    async with open_database_copy(servers) as settings:
        await migrate.upgrade(settings)
        yield name_of(settings)


@pytest.fixture(scope="session")
async def shared_database(servers: Servers, template: str) -> AsyncIterator[DatabaseSettings]:
    """The suite's database. Take `settings` or `make_settings` instead: they clean up."""
    async with open_database_copy(servers, template=template) as settings:
        yield settings


@pytest.fixture
async def fresh_database(servers: Servers, template: str) -> AsyncIterator[DatabaseSettings]:
    """A migrated database of the test's own."""
    async with open_database_copy(servers, template=template) as settings:
        yield settings


@pytest.fixture
async def empty_database(servers: Servers) -> AsyncIterator[DatabaseSettings]:
    """A database of the test's own in which nothing was migrated."""
    async with open_database_copy(servers) as settings:
        yield settings


@pytest.fixture(scope="session")
async def owner(shared_database: DatabaseSettings) -> AsyncIterator[OwnerPool]:
    """The suite's database as the schema's owner, who sees every tenant: for looking at rows and for breaking them."""
    pool = await asyncpg.create_pool(
        owner_url(shared_database), min_size=1, max_size=4, server_settings={"app.fleet": "on", "timezone": "UTC"}
    )
    async with pool:
        yield pool


@pytest.fixture(scope="session")
def shared_settings(shared_database: DatabaseSettings, servers: Servers) -> Settings:
    """The settings of `api` and `worker`. Take `settings` instead: it cleans up."""
    return settings_of(shared_database, servers)


@pytest.fixture(scope="session")
async def shared_redis(shared_settings: Settings) -> AsyncIterator[RedisClient]:
    """The suite's Redis, for cleaning up under every prefix."""
    redis = connect(shared_settings.redis)
    yield redis
    await redis.aclose(close_connection_pool=True)


@pytest.fixture
async def clean(
    request: pytest.FixtureRequest, owner: OwnerPool, shared_redis: RedisClient, shared_settings: Settings
) -> AsyncIterator[list[Settings]]:
    """Deletes every tenant and empties the queues when the test ends. The settings to clean are added to the list.

    First it looks whether the test leaves a job that nobody would ever run, or a key that stays for ever. A test that
    does so on purpose says so: `pytest.mark.untidy`.
    """
    used = [shared_settings]
    yield used
    queues = [Keys(settings.redis.prefix) for settings in used]
    untidy = request.node.get_closest_marker("untidy")
    problems = [] if untidy else await aftermath(owner, shared_redis, queues)
    await owner.execute("DELETE FROM tenants; DELETE FROM seals; DELETE FROM sweep_turns")
    for keys in queues:
        await empty_queue(shared_redis, keys)
    assert not problems


@pytest.fixture
def settings(clean: list[Settings], shared_settings: Settings) -> Settings:
    """What `api` and `worker` run with."""
    return shared_settings


@pytest.fixture
def make_settings(clean: list[Settings], shared_database: DatabaseSettings, servers: Servers) -> MakeSettings:
    """Other settings, by group, on the suite's database and with a Redis prefix of their own.

        make_settings(webhook={"allow_http": True}, worker={"lease_seconds": 1})

    `database` may be another one (`fresh_database`).
    """

    def make(*, database: DatabaseSettings | None = None, **groups: Any) -> Settings:
        made = settings_of(database or shared_database, servers, **groups)
        clean.append(made)
        return made

    return make


@pytest.fixture(scope="session")
async def shared_operator(shared_settings: Settings) -> AsyncIterator[OperatorRuntime]:
    async with open_operator(shared_settings) as runtime:
        yield runtime


@pytest.fixture
def operator(clean: list[Settings], shared_operator: OperatorRuntime) -> OperatorRuntime:
    """What the operator's commands use; sees all tenants."""
    return shared_operator


@pytest.fixture
def new_tenant(operator: OperatorRuntime) -> MakeTenant:
    """Makes one more tenant with an API key: `await new_tenant()`."""
    return lambda: make_tenant(operator)


@pytest.fixture
async def tenant(new_tenant: MakeTenant) -> Tenant:
    """A tenant of this test's own, with an API key."""
    return await new_tenant()


@pytest.fixture
async def other_tenant(new_tenant: MakeTenant) -> Tenant:
    """Somebody else, who must not see anything."""
    return await new_tenant()


@pytest.fixture
async def api_runtime(settings: Settings) -> AsyncIterator[ApiRuntime]:
    """What the API is made of, without HTTP."""
    async with open_api(settings) as runtime:
        yield runtime


@pytest.fixture
async def worker_runtime(settings: Settings) -> AsyncIterator[WorkerRuntime]:
    """What a worker is made of, with nothing running."""
    async with open_worker(settings) as runtime:
        await enlist(runtime)
        yield runtime


@pytest.fixture(scope="session")
async def shared_api(shared_settings: Settings) -> AsyncIterator[RunningApi]:
    async with serve_api(shared_settings) as running:
        yield running


@pytest.fixture
async def api(shared_api: RunningApi, tenant: Tenant) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client with the key of `tenant`, on the real API behind uvicorn. The API is the session's."""
    async with shared_api.client(tenant) as client:
        yield client


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[RunningWorker]:
    """A worker that serves the same queue as `api`, from here to the end of the test."""
    async with run_worker(settings) as running:
        yield running


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """For what a test opens itself: `running = await stack.enter_async_context(run_worker(...))`."""
    async with AsyncExitStack() as opened:
        yield opened


def settings_of(database: DatabaseSettings, servers: Servers, **groups: Any) -> Settings:
    """Settings with a Redis prefix of their own. Take `make_settings` instead: it cleans up."""
    redis = {
        "url": servers.redis_url,
        "prefix": f"test-{uuid.uuid4().hex[:12]}",
        # On a busy machine 50 ms pass easily; the sweep would then enqueue, seconds later.
        "enqueue_timeout_seconds": 2.0,
    }
    worker = {"drain_seconds": 0.5}
    # As the product's, twenty times as fast.
    job = {"retry_initial_seconds": 0.05, "retry_max_seconds": 6.0}
    return ExplicitSettings(
        database=database,
        redis=redis | groups.pop("redis", {}),
        worker=worker | groups.pop("worker", {}),
        job=job | groups.pop("job", {}),
        **groups,
    )
