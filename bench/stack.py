"""The measured system: embedded PostgreSQL and Valkey with their default durability, and the product's processes.

`open_bench` starts the servers once for all scenarios, in a folder that is deleted at the end. A scenario starts the
API and the workers that it needs, as `inferd serve` does, and calls `reset` so that every round starts with empty
tables.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from bench.http_client import Target
from bench.process import Process, start
from bench.settings import BenchSettings
from core.access.tenants import create_key, create_tenant
from core.db import migrate
from core.domain.ids import TenantId
from core.queue.connect import RedisClient, connect
from core.queue.keys import Keys
from core.runtime import open_operator
from core.settings import DatabaseSettings, RedisSettings, Settings
from local.embedded.processes import wait_for_first
from local.embedded.reset import reset as delete_servers
from local.embedded.supervisor import EmbeddedServers, run_embedded
from local.processes import free_port

REPOSITORY = Path(__file__).parents[1]
_READY_SECONDS = 60.0
_EMPTIED = "jobs, deliveries, idempotency, deleted_jobs"


@dataclass(frozen=True, slots=True)
class Tenant:
    id: TenantId
    key: str


@dataclass(frozen=True, slots=True)
class Bench:
    """The servers, a database with the product's schema, and the sizes of the scenarios."""

    settings: Settings
    owner: "asyncpg.Pool[asyncpg.Record]"
    redis: RedisClient
    servers: EmbeddedServers
    tenants: Sequence[Tenant]
    folder: Path
    quick: bool

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 5

    @property
    def owner_url(self) -> str:
        """The URL of the server for the tables of baselines."""
        return (self.settings.database.owner_url or self.settings.database.url).get_secret_value()

    @property
    def other_redis_url(self) -> str:
        """The URL for the queues of baselines: a database of Redis that inferd does not use."""
        return self.settings.redis.url.get_secret_value().replace("db=0", "db=1")

    def size(self, whole: int, quick: int) -> int:
        """Returns the size to use; `quick` runs only show that a scenario works."""
        return quick if self.quick else whole

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Returns the environment of a child process, without the user's settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INFERD_")}
        return {
            **inherited,
            "PYTHONPATH": str(REPOSITORY),
            "INFERD_DATABASE_URL": self.settings.database.url.get_secret_value(),
            "INFERD_REDIS_URL": self.settings.redis.url.get_secret_value(),
            "INFERD_API_URL": "",
            **variables,
        }

    async def reset(self) -> None:
        """Empties the tables and the queue; sets the epoch key, so that no worker rebuilds the queue."""
        await self.owner.execute(f"TRUNCATE {_EMPTIED} CASCADE")
        await self.reset_redis()

    async def reset_redis(self) -> None:
        """Empties the queues, those of the baselines too."""
        await self.redis.flushall()
        await self.redis.set(Keys(self.settings.redis.prefix).epoch, "1")

    @asynccontextmanager
    async def api(self, **variables: str) -> AsyncIterator[tuple[Target, Process]]:
        """Starts an API process and waits until it responds; the target has the first tenant's key."""
        port = free_port("127.0.0.1")
        environment = self.environment({"INFERD_API_PORT": str(port), **variables})
        async with start("api", ["api.main"], environment, self.folder) as process:
            await wait_for_first(process.child, lambda: accepts(port), _READY_SECONDS)
            yield Target("127.0.0.1", port, {"authorization": f"Bearer {self.tenants[0].key}"}), process

    @asynccontextmanager
    async def workers(self, count: int = 1, **variables: str) -> AsyncIterator[Sequence[Process]]:
        """Starts `count` workers and waits until they wait for jobs."""
        environment = self.environment(variables)
        async with AsyncExitStack() as running:
            processes = [
                await running.enter_async_context(start(f"worker-{n}", ["worker.main"], environment, self.folder))
                for n in range(count)
            ]
            channel = Keys(self.settings.redis.prefix).wake

            async def listen() -> bool | None:
                ((_, listeners),) = await self.redis.pubsub_numsub(channel)
                return listeners >= count or None

            for process in processes:
                await wait_for_first(process.child, listen, _READY_SECONDS)
            yield processes

    @asynccontextmanager
    async def database(self, name: str, *, migrated: bool = False) -> AsyncIterator[DatabaseSettings]:
        """Creates another database on the same server; it is dropped at the end."""
        await self.owner.execute(f"CREATE DATABASE {name}")
        settings = self.settings.database
        try:
            own = settings.model_copy(
                update={
                    "url": SecretStr(_named(settings.url.get_secret_value(), name)),
                    "owner_url": SecretStr(_named((settings.owner_url or settings.url).get_secret_value(), name)),
                }
            )
            if migrated:
                await migrate.upgrade(own)
            yield own
        finally:
            await self.owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def open_bench(*, quick: bool, tenants: int = 21) -> AsyncIterator[Bench]:
    """Starts the servers, creates the schema and the tenants; deletes everything afterwards."""
    folder = _make_folder()
    try:
        async with run_embedded(folder, with_model=False) as servers:
            settings = _settings(servers)
            await migrate.upgrade(settings.database)
            redis = connect(settings.redis)
            owner_url = (settings.database.owner_url or settings.database.url).get_secret_value()
            async with asyncpg.create_pool(owner_url, min_size=1, max_size=4) as owner:
                try:
                    yield Bench(
                        settings=settings,
                        owner=owner,
                        redis=redis,
                        servers=servers,
                        tenants=await make_tenants(settings, tenants),
                        folder=folder,
                        quick=quick,
                    )
                finally:
                    await redis.aclose(close_connection_pool=True)
    finally:
        if (folder / "embedded").exists():
            delete_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="inferd-bench-")).resolve()
    # PostgreSQL may run as another account, which must be able to reach its data.
    folder.chmod(0o755)
    return folder


async def make_tenants(settings: Settings, count: int) -> list[Tenant]:
    """Creates tenants with a key each."""
    made = []
    async with open_operator(settings) as operator:
        for number in range(count):
            tenant_id = await create_tenant(operator.database, operator.sealer, f"bench-{number}")
            key = await create_key(operator.database, operator.clock, tenant_id, "bench")
            made.append(Tenant(tenant_id, key.text))
    return made


async def accepts(port: int) -> bool | None:
    """Returns True when something listens, otherwise None."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None
    writer.close()
    return True


def _settings(servers: EmbeddedServers) -> Settings:
    assert servers.database_url is not None  # noqa: S101 - it was asked for
    assert servers.redis_url is not None  # noqa: S101 - as above
    return BenchSettings(
        database=DatabaseSettings(
            url=SecretStr(servers.database_url), owner_url=SecretStr(servers.owner_url or servers.database_url)
        ),
        # The bench's own enqueues must succeed however busy the machine is.
        redis=RedisSettings(url=SecretStr(servers.redis_url), enqueue_timeout_seconds=5.0),
    )


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
