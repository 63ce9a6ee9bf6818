"""Everything that `inferd serve` and `inferd demo` run: the embedded servers, the schema, a key, the API, the workers.

Guarantees: when the body begins, the API takes jobs and a worker listens; leaving the body stops the API and the
workers first and the servers after them; one that dies in between is reported by `Stack.failure()`.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cli import saved
from cli.client.http import ApiClient
from cli.configuration import serve_settings
from cli.exit_codes import CommandFailed
from core.access.keys import parse_key
from core.access.tenants import create_key, create_tenant, find_tenant, list_keys
from core.db import migrate
from core.domain.errors import NotFound
from core.queue.connect import RedisFault, connect
from core.queue.keys import Keys
from core.runtime import OperatorRuntime, open_operator
from core.settings import Settings
from local.embedded.folders import has_cluster, make_root, make_serve_folder
from local.embedded.lock import only_command
from local.embedded.processes import Child, wait_for_first
from local.embedded.supervisor import EmbeddedServers, run_embedded
from local.plan import Plan, child_environment, grace_seconds
from local.processes import Roles, browsable

Result = TypeVar("Result")
TENANT = "default"
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Stack:
    """The running system: its processes and addresses."""

    plan: Plan
    servers: EmbeddedServers
    api_url: str
    api_key: str
    logs: Path
    children: tuple[Child, ...]

    async def failure(self) -> NoReturn:
        """Waits, forever if all is well, and raises EmbeddedError when a process ends unexpectedly."""
        server_died = asyncio.ensure_future(self.servers.failure())
        endings: set[asyncio.Future[Any]] = {server_died, *(child.exited for child in self.children)}
        try:
            await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
            if server_died.done():
                server_died.result()
            raise next(child.died() for child in self.children if child.exited.done())
        finally:
            server_died.cancel()
            await asyncio.gather(server_died, return_exceptions=True)

    async def while_alive(self, work: Coroutine[object, object, Result]) -> Result:
        """Returns what `work` returns. Cancels it and raises EmbeddedError when a process ends unexpectedly."""
        working, failing = asyncio.ensure_future(work), asyncio.ensure_future(self.failure())
        try:
            await asyncio.wait({working, failing}, return_when=asyncio.FIRST_COMPLETED)
            return failing.result() if failing.done() else working.result()
        finally:
            working.cancel()
            failing.cancel()
            await asyncio.gather(working, failing, return_exceptions=True)


@asynccontextmanager
async def run_stack(plan: Plan, say: Callable[[str], None]) -> AsyncIterator[Stack]:
    """Raises EmbeddedError, SettingsError or CommandFailed when it can't start. `say` is called with each step."""
    data_dir = plan.settings.data_dir
    with_model = plan.with_model and plan.settings.local_base_url is None
    secrets = _secrets(plan.settings)
    say("Starting PostgreSQL, Valkey and the model" if with_model else "Starting PostgreSQL and Valkey")
    async with run_embedded(data_dir, with_model=with_model) as servers:
        folder = make_serve_folder(data_dir)
        running = _running(plan, servers)
        settings = serve_settings(plan.settings, running)
        say("Applying the database migrations")
        await migrate.upgrade(settings.database)
        async with open_operator(settings) as operator:
            secrets = replace(secrets, api_key=await _development_key(operator, secrets.api_key))
        saved.save_secrets(data_dir, secrets)
        roles = Roles(
            folder=folder,
            logs=folder.parent / "logs",
            working_folder=plan.working_folder,
            environment=child_environment(plan, servers, settings),
            grace_seconds=grace_seconds(plan.settings),
        )
        try:
            say("Starting the API and the workers" if plan.workers > 1 else "Starting the API and a worker")
            await _start(plan, roles, running, settings)
            saved.save_running(data_dir, running)
            # All that is loaded stays until the end: no collection looks at it again, not even the last.
            gc.freeze()
            assert secrets.api_key is not None  # noqa: S101 - set above
            yield Stack(plan, servers, running.api_url, secrets.api_key, roles.logs, tuple(roles.children))
        finally:
            saved.forget_running(data_dir)
            await roles.stop()


def _secrets(settings: Settings) -> saved.Secrets:
    """Stores the secrets before there is a database, so that none exists without the key that encrypts it."""
    root = make_root(settings.data_dir)
    with only_command(root):
        make_serve_folder(settings.data_dir)
        own = settings.master_key.get_secret_value() if settings.master_key else None
        return saved.first_secrets(settings.data_dir, own, has_database=has_cluster(root))


def _running(plan: Plan, servers: EmbeddedServers) -> saved.Running:
    if servers.database_url is None or servers.owner_url is None or servers.redis_url is None:
        raise CommandFailed("The embedded servers did not start.")
    return saved.Running(
        api_url=f"http://{browsable(plan.host)}:{plan.port}",
        database_url=servers.database_url,
        owner_url=servers.owner_url,
        redis_url=servers.redis_url,
        local_base_url=servers.local_base_url,
        local_api_key=servers.local_api_key,
    )


async def _development_key(operator: OperatorRuntime, known: str | None) -> str:
    """Returns the key of the last start while it is valid, else a new one."""
    try:
        tenant_id = await find_tenant(operator.database, TENANT)
    except NotFound:
        tenant_id = await create_tenant(operator.database, operator.sealer, TENANT)
    presented = parse_key(known) if known else None
    if known and presented:
        for row in await list_keys(operator.database, tenant_id):
            if row.public_id == presented.public_id and row.revoked_at is None:
                return known
    return (await create_key(operator.database, operator.clock, tenant_id, "development")).text


async def _start(plan: Plan, roles: Roles, running: saved.Running, settings: Settings) -> None:
    api = roles.start("The API", "api.main", "api.log")
    workers = [
        roles.start(f"Worker {number}", "worker.main", f"worker-{number}.log") for number in range(1, plan.workers + 1)
    ]
    async with ApiClient(running.api_url, None) as client:

        async def answers() -> bool | None:
            return await client.is_ready() or None

        await wait_for_first(api, answers, _READY_SECONDS)
    redis = connect(settings.redis, connections=1)
    try:

        async def all_listen() -> bool | None:
            try:
                ((_, listeners),) = await redis.pubsub_numsub(Keys(settings.redis.prefix).wake)
            except RedisFault:
                return None
            return listeners >= plan.workers or None

        for worker in workers:
            await wait_for_first(worker, all_listen, _READY_SECONDS)
    finally:
        await redis.aclose(close_connection_pool=True)
