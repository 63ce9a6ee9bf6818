"""The only composition root: everything a process needs, opened in order and closed in reverse.

`open_api` is for the API, `open_worker` for a worker, `open_operator` for commands. Whoever opens one is handed plain
contexts; nothing in core looks anything up by itself.
"""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from core.access.authenticate import Authenticator
from core.access.master_key import check_master_key
from core.db.dedicated import DedicatedConnection
from core.db.engine import Database, open_database
from core.db.sealed import Sealer, make_sealer
from core.domain.clock import Clock, SystemClock
from core.domain.ids import new_uuid
from core.jobs.context import JobContext, RunContext
from core.jobs.group_commit import GroupCommit
from core.jobs.heartbeat import Leases
from core.jobs.spool import Spool
from core.jobs.watch import Watch
from core.jobs.worker_lease import WorkerLease
from core.providers.catalogue import Catalogue, open_catalogue
from core.queue.connect import RedisClient, connect
from core.queue.enqueue import Enqueuer, open_enqueuer
from core.queue.keys import Keys
from core.routing.router import Router
from core.settings import Settings
from core.version import VERSION
from core.webhooks.deliveries.context import DeliverContext
from core.webhooks.egress.post import Egress

_HOUR: int = 3600


@dataclass(frozen=True, slots=True)
class ApiRuntime:
    """What the API is made of."""

    settings: Settings
    clock: Clock
    database: Database
    redis: RedisClient
    keys: Keys
    sealer: Sealer
    jobs: JobContext
    authenticator: Authenticator
    watch: Watch


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """What a worker is made of."""

    settings: Settings
    database: Database
    redis: RedisClient
    keys: Keys
    jobs: RunContext
    deliveries: DeliverContext


@dataclass(frozen=True, slots=True)
class OperatorRuntime:
    """What an operator's command is made of."""

    settings: Settings
    clock: Clock
    database: Database
    sealer: Sealer


@asynccontextmanager
async def open_api(settings: Settings) -> AsyncIterator[ApiRuntime]:
    """Raises DatabaseUnusable or SettingsError when it can't start; without Redis it does."""
    async with AsyncExitStack() as stack:
        shared = await _open_shared(stack, settings, name="api", fleet=False, claimant=lambda: "")
        watch = Watch(shared.group_commit)
        stack.callback(watch.close)
        yield ApiRuntime(
            settings=settings,
            clock=shared.clock,
            database=shared.database,
            redis=shared.redis,
            keys=shared.keys,
            sealer=shared.sealer,
            jobs=JobContext(
                database=shared.database,
                group_commit=shared.group_commit,
                enqueuer=shared.enqueuer,
                sealer=shared.sealer,
                catalogue=shared.catalogue,
                clock=shared.clock,
                settings=settings.job,
            ),
            authenticator=Authenticator(shared.database, shared.clock),
            watch=watch,
        )


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[WorkerRuntime]:
    """Raises as `open_api`."""
    async with AsyncExitStack() as stack:
        lease = _worker_lease(settings)
        stack.callback(lease.connection.drop)
        shared = await _open_shared(stack, settings, name="worker", fleet=True, claimant=lambda: lease.id)
        egress = await stack.enter_async_context(Egress(settings.webhook))
        yield WorkerRuntime(
            settings=settings,
            database=shared.database,
            redis=shared.redis,
            keys=shared.keys,
            jobs=RunContext(
                database=shared.database,
                group_commit=shared.group_commit,
                enqueuer=shared.enqueuer,
                sealer=shared.sealer,
                catalogue=shared.catalogue,
                clock=shared.clock,
                settings=settings.job,
                leases=Leases(shared.database, lease),
                router=Router(),
                spool=Spool(shared.redis, shared.keys, shared.sealer),
            ),
            deliveries=DeliverContext(
                database=shared.database,
                egress=egress,
                sealer=shared.sealer,
                clock=shared.clock,
                enqueuer=shared.enqueuer,
                settings=settings.webhook,
                worker_id=lease.name,
            ),
        )


@asynccontextmanager
async def open_operator(settings: Settings) -> AsyncIterator[OperatorRuntime]:
    """Raises as `open_api`; needs PostgreSQL only."""
    async with await open_database(settings.database, name="operator", fleet=True, patient=False) as database:
        sealer = make_sealer(settings.master_key)
        await check_master_key(database, sealer, needed=False)
        yield OperatorRuntime(settings, SystemClock(), database, sealer)


@dataclass(frozen=True, slots=True)
class _Shared:
    clock: Clock
    database: Database
    redis: RedisClient
    keys: Keys
    sealer: Sealer
    enqueuer: Enqueuer
    catalogue: Catalogue
    group_commit: GroupCommit


async def _open_shared(
    stack: AsyncExitStack, settings: Settings, *, name: str, fleet: bool, claimant: Callable[[], str]
) -> _Shared:
    database = await stack.enter_async_context(await open_database(settings.database, name=name, fleet=fleet))
    sealer = make_sealer(settings.master_key)
    await check_master_key(database, sealer, wait_seconds=settings.database.wait_seconds)
    redis = connect(settings.redis)
    stack.push_async_callback(redis.aclose, close_connection_pool=True)
    keys = Keys(settings.redis.prefix)
    enqueuer = open_enqueuer(redis, keys, settings.redis.enqueue_timeout_seconds, settings.redis.lane_limit)
    stack.push_async_callback(enqueuer.aclose)
    catalogue = open_catalogue(settings)
    stack.push_async_callback(catalogue.aclose)
    group_commit = GroupCommit(
        database=database,
        sealer=sealer,
        enqueuer=enqueuer,
        claimant=claimant,
        key_seconds=settings.job.idempotency_hours * _HOUR,
    )
    stack.push_async_callback(group_commit.aclose)
    return _Shared(SystemClock(), database, redis, keys, sealer, enqueuer, catalogue, group_commit)


def _worker_lease(settings: Settings) -> WorkerLease:
    """Not registered yet: the first renewal does it (worker/tasks/beat.py)."""
    return WorkerLease(
        connection=DedicatedConnection(settings.database, "beat"),
        # Process ids are the same in every container.
        name=f"{socket.gethostname()}-{os.getpid()}-{new_uuid().hex[-4:]}",
        version=VERSION,
        lease_seconds=settings.worker.lease_seconds,
        heartbeat_seconds=settings.worker.heartbeat_seconds,
        slots=settings.worker.concurrency,
    )
