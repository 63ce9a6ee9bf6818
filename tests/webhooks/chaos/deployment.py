"""A whole inferd for the proofs: real API and worker processes on real servers, tenants, and jobs submitted over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg

from core.runtime import open_operator
from core.settings import Settings
from local.processes import free_port
from tests.chaos.fleet import Fleet, Member
from tests.support.explicit_settings import environment_of
from tests.support.servers import owner_url
from tests.support.tenants import Tenant, make_tenant
from tests.support.waiting import eventually

# Short enough that what a dead worker held is sent within the proof.
WORKER: Final = {"lease_seconds": 3.0, "heartbeat_seconds": 1.0, "sweep_seconds": 1.0, "drain_seconds": 1.0}
WEBHOOK: Final = {
    "allow_http": True,
    "allow_cidrs": ["127.0.0.0/8"],
    "timeout_seconds": 2.0,
    "connect_timeout_seconds": 0.5,
    "per_endpoint": 16,
    "per_host": 16,
    "retry_seconds": [0.2, 0.5, 1.0, *[2.0] * 16],
}
_AGAIN_SECONDS: Final = 0.1
_EVENTS: Final = ["job.succeeded"]


@dataclass
class Client:
    """One tenant's, through whatever API answers: what can't be answered now is asked again, under the same keys."""

    deployment: "Deployment"
    tenant: Tenant
    jobs: list[str] = field(default_factory=list)

    async def register(self, url: str, **more: Any) -> dict[str, Any]:
        body = {"name": "proof", "url": url, "event_types": _EVENTS, **more}
        return await self.ask("POST", "/v1/webhook_endpoints", body)

    async def submit(self, count: int, *, prefix: str, own_url: str | None = None) -> None:
        """One request of up to 1,000 jobs; their ids are kept."""
        job: dict[str, Any] = {"model": "echo/echo", "input": "hi"}
        if own_url is not None:
            job["webhook"] = {"url": own_url, "events": _EVENTS}
        lines = [job | {"idempotency_key": f"{prefix}-{number}"} for number in range(count)]
        while lines:
            answer = await self.ask("POST", "/v1/jobs/bulk", {"jobs": lines})
            taken = [line["id"] for line in answer["data"]]
            self.jobs += [job_id for job_id in taken if job_id is not None]
            lines = [line for line, job_id in zip(lines, taken, strict=True) if job_id is None]

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        while True:
            try:
                async with self.deployment.http.request(
                    method, self.deployment.url + path, json=body, headers=self.tenant.authorization
                ) as answer:
                    if answer.status < 300:
                        return dict(await answer.json())
                    if answer.status not in (429, 500, 503):
                        raise AssertionError(f"{method} {path} answered {answer.status}: {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(_AGAIN_SECONDS)


@dataclass
class Deployment:
    """What the proofs act on; `owner` sees every row."""

    settings: Settings
    url: str
    fleet: Fleet
    owner: "asyncpg.Pool[asyncpg.Record]"
    http: aiohttp.ClientSession
    tenants: list[Tenant] = field(default_factory=list)

    async def clients(self, count: int) -> list[Client]:
        """New tenants, one client each."""
        async with open_operator(self.settings) as operator:
            made = [await make_tenant(operator) for _ in range(count)]
        self.tenants += made
        return [Client(self, tenant) for tenant in made]

    async def count(self, *states: str) -> int:
        found = "SELECT count(*) FROM deliveries WHERE state = ANY ($1::text[])"
        return int(await self._ask(found, list(states)))

    async def deliveries(self) -> int:
        return int(await self._ask("SELECT count(*) FROM deliveries"))

    async def settled(self, seconds: float) -> None:
        """Until nothing waits to be sent any more."""

        async def nothing() -> bool:
            return await self.count("pending") == 0

        await eventually(nothing, seconds=seconds, what="nothing waits to be sent")

    async def _ask(self, query: str, *arguments: object) -> Any:
        while True:
            try:
                return await self.owner.fetchval(query, *arguments)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await asyncio.sleep(_AGAIN_SECONDS)


@asynccontextmanager
async def open_deployment(
    settings: Settings, folder: Path, *, workers: int, forked: bool = False
) -> AsyncIterator[Deployment]:
    """Starts one API and so many workers on a migrated database; ends them all."""
    environment = environment_of(settings)
    port = free_port("127.0.0.1")
    fleet = Fleet(
        apis=[Member("api", "api.main", environment | {"INFERD_API_PORT": str(port)}, folder / "api.log", forked)],
        workers=[
            Member(f"worker-{number}", "worker.main", environment, folder / f"worker-{number}.log", forked)
            for number in range(workers)
        ],
    )
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        asyncpg.create_pool(
            owner_url(settings.database), min_size=1, max_size=3, server_settings={"app.fleet": "on"}
        ) as owner,
        aiohttp.ClientSession(timeout=timeout) as http,
    ):
        fleet.start()
        try:
            deployment = Deployment(settings, f"http://127.0.0.1:{port}", fleet, owner, http)
            await eventually(lambda: _ready(deployment), seconds=60, what="the API is ready")
            yield deployment
        finally:
            await fleet.stop()


async def _ready(deployment: Deployment) -> bool:
    try:
        async with deployment.http.get(f"{deployment.url}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError):
        return False


def lost(crowd_jobs: set[str], clients: Sequence[Client]) -> list[str]:
    """Jobs that were accepted and whose webhook nobody took."""
    return [job for client in clients for job in client.jobs if job not in crowd_jobs]
