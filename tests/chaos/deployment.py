"""What a run of chaos stands on: servers and processes of its own, proxies between them, a provider, and tenants.

Every process reaches its stores through the proxies only, and each worker the provider by a path of its own: the
provider's ledger then says which worker made a call, whatever the database says.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp

from core.db import migrate
from core.queue.keys import Keys
from core.runtime import open_operator
from core.settings import DatabaseSettings, Settings
from local.embedded.reset import reset
from local.embedded.supervisor import run_embedded
from local.processes import free_port
from tests.chaos.fleet import Fleet, Member
from tests.chaos.plan import Plan
from tests.chaos.proxy import Proxy, open_proxy
from tests.conformance.fake_provider import FakeProvider
from tests.queue.own_valkey import OwnValkey, open_valkey
from tests.support.explicit_settings import ExplicitSettings, environment_of
from tests.support.folders import open_folder
from tests.support.tenants import Tenant, make_tenant
from tests.support.waiting import eventually

PROVIDER = "chaos"


@dataclass
class Deployment:
    """`owner_url` is PostgreSQL as its owner and `valkey` the Redis that has the queue, both past the proxies."""

    settings: Settings
    owner_url: str
    valkey: OwnValkey
    postgres: Proxy
    redis: Proxy
    provider: FakeProvider
    fleet: Fleet
    logs: Path

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{member.environment['INFERD_API_PORT']}" for member in self.fleet.apis]

    @property
    def keys(self) -> Keys:
        return Keys(self.settings.redis.prefix)

    async def tenants(self, count: int) -> list[Tenant]:
        async with open_operator(self.settings) as operator:
            return [await make_tenant(operator) for _ in range(count)]

    def start(self) -> None:
        self.fleet.start()

    async def ready(self) -> None:
        """Until every API answers; the workers are started by then."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:

            async def all_ready() -> bool:
                try:
                    for url in self.urls:
                        async with http.get(f"{url}/readyz") as answer:
                            if answer.status != 200:
                                return False
                except (aiohttp.ClientError, OSError, TimeoutError):
                    return False
                return True

            await eventually(all_ready, seconds=120, what="the APIs are ready")


@asynccontextmanager
async def open_deployment(plan: Plan) -> AsyncIterator[Deployment]:
    """Everything is there but the fleet, which `start` starts; all of it is ended here."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder())
        stack.callback(reset, folder / "data")
        embedded = await stack.enter_async_context(
            run_embedded(
                folder / "data",
                with_model=False,
                with_valkey=False,
                postgres_settings={"fsync": "off"} if plan.quick else {},
            )
        )
        assert embedded.owner_url is not None
        assert embedded.database_url is not None
        valkey = await stack.enter_async_context(open_valkey())
        entrances = plan.workers + 1
        postgres = await stack.enter_async_context(
            open_proxy(_postgres_socket(embedded.database_url), entrances=entrances)
        )
        redis = await stack.enter_async_context(open_proxy(valkey.folder / "valkey.sock", entrances=entrances))
        provider = await stack.enter_async_context(FakeProvider())
        settings = _settings(plan, embedded.database_url, embedded.owner_url, valkey.url, provider.base_url)
        await migrate.upgrade(settings.database)
        logs = plan.logs or folder
        fleet = _fleet(plan, settings, postgres, redis, logs)
        stack.push_async_callback(fleet.stop)
        yield Deployment(settings, embedded.owner_url, valkey, postgres, redis, provider, fleet, logs)


def _settings(plan: Plan, database_url: str, owner_url: str, redis_url: str, provider_url: str) -> Settings:
    return ExplicitSettings(
        database=DatabaseSettings.model_validate(
            {"url": database_url, "owner_url": owner_url, "statement_timeout_seconds": plan.statement_seconds}
        ),
        redis={"url": redis_url},
        worker={
            "lease_seconds": plan.lease_seconds,
            "heartbeat_seconds": plan.heartbeat_seconds,
            "sweep_seconds": plan.sweep_seconds,
            "drain_seconds": 1.0,
        },
        webhook={
            "allow_http": True,
            "allow_cidrs": ["127.0.0.0/8"],
            "timeout_seconds": plan.webhook_seconds,
            "connect_timeout_seconds": min(5.0, plan.webhook_seconds),
        },
        providers={PROVIDER: {"base_url": provider_url}},
    )


def _fleet(plan: Plan, settings: Settings, postgres: Proxy, redis: Proxy, logs: Path) -> Fleet:
    """The APIs share the first entrance of each proxy; each worker has one of its own."""
    url = urlsplit(settings.database.url.get_secret_value())
    common = environment_of(settings)
    common.pop("INFERD_DATABASE_OWNER_URL", None)

    def member(name: str, module: str, entrance: int, **more: str) -> Member:
        through = {
            "INFERD_DATABASE_URL": f"postgresql://{url.username}@127.0.0.1:{postgres.ports[entrance]}{url.path}",
            "INFERD_REDIS_URL": f"redis://127.0.0.1:{redis.ports[entrance]}/0",
        }
        return Member(name, module, common | through | more, logs / f"{name}.log", forked=plan.quick)

    def worker(index: int) -> Member:
        name = f"worker-{index}"
        base_url = settings.providers[PROVIDER].base_url.replace("/v1", f"/{name}/v1")
        providers = json.dumps({PROVIDER: {"base_url": base_url}})
        return member(name, "worker.main", index + 1, INFERD_PROVIDERS=providers)

    return Fleet(
        apis=[
            member(f"api-{index}", "api.main", 0, INFERD_API_PORT=str(free_port("127.0.0.1")))
            for index in range(plan.apis)
        ],
        workers=[worker(index) for index in range(plan.workers)],
    )


def _postgres_socket(url: str) -> Path:
    """The socket that libpq's `?host=/folder&port=n` means."""
    query = parse_qs(urlsplit(url).query)
    return Path(query["host"][0]) / f".s.PGSQL.{query.get('port', ['5432'])[0]}"
