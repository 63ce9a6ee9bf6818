"""A worker from start to stop: two arq workers (jobs, deliveries), the heartbeat, the sweep and one subscription.

SIGTERM or SIGINT drains: nothing more is claimed, running jobs get `drain_seconds`, and what still runs then is
queued again at no cost. worker/main.py calls it.
"""

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from core.db.faults import STORE_FAULTS
from core.domain.ids import InvalidId, JobId, parse_job
from core.jobs.due_deliveries import DeliveryWalk
from core.jobs.fallback import DueDeliveries, DueJobs
from core.jobs.fleet import read_fleet
from core.observability.metrics import SLOTS
from core.process import end_tasks
from core.queue.fleet import TenantCaps
from core.queue.keys import JOB_LANES, Lane
from core.queue.payload import DELIVER_WEBHOOK, RUN_JOB
from core.queue.subscription import listen
from core.queue.worker import QueueWorker
from core.runtime import WorkerRuntime
from worker.health import serve_health
from worker.tasks.beat import look_forever, renew_forever
from worker.tasks.deliver_webhook import deliver_webhook
from worker.tasks.prune import prune_forever
from worker.tasks.run_job import admit_jobs, run_job
from worker.tasks.sweep import make_sweep

_PUT_BACK_SECONDS: Final = 5.0
_FLEET_SECONDS: Final = 3.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Workers:
    """The two arq workers of a process, and the caps that the jobs' one holds tenants to."""

    jobs: QueueWorker
    deliveries: QueueWorker
    caps: TenantCaps

    def stop(self) -> None:
        self.jobs.stop()
        self.deliveries.stop()

    async def drain(self, seconds: float) -> int:
        return sum(await asyncio.gather(self.jobs.drain(seconds), self.deliveries.drain(seconds)))

    def wake(self) -> None:
        self.jobs.wake()
        self.deliveries.wake()


def make_workers(runtime: WorkerRuntime) -> Workers:
    """Built, not yet running."""
    settings, leases = runtime.settings, runtime.jobs.leases
    caps = TenantCaps(settings.tenant.slot_share)

    def still_ours(member: str) -> bool:
        try:
            return leases.may_hold(parse_job(member))
        except InvalidId:
            return False

    make = partial(
        QueueWorker,
        redis=runtime.redis,
        keys=runtime.keys,
        # What a dead worker held in Redis must be free again when its lease in PostgreSQL is.
        lease_seconds=settings.worker.lease_seconds,
        context={"runtime": runtime},
        name=leases.worker.name,
    )
    return Workers(
        jobs=make(
            lanes=JOB_LANES,
            tasks={RUN_JOB: run_job},
            admit={RUN_JOB: admit_jobs},
            default_task=RUN_JOB,
            slots=settings.worker.concurrency,
            source=DueJobs(runtime.database, caps),
            caps=caps,
            still_ours=still_ours,
            may_claim=lambda: leases.worker.may_claim,
        ),
        deliveries=make(
            lanes=[Lane.DELIVERIES],
            tasks={DELIVER_WEBHOOK: deliver_webhook},
            default_task=DELIVER_WEBHOOK,
            slots=settings.webhook.concurrency,
            source=DueDeliveries(DeliveryWalk(runtime.database)),
        ),
        caps=caps,
    )


async def run(runtime: WorkerRuntime, stopped: asyncio.Event) -> None:
    """Serves until `stopped` is set, then drains."""
    workers, leases, sweep = make_workers(runtime), runtime.jobs.leases, make_sweep(runtime)
    runtime.jobs.catalogue.warm()
    with suppress(*STORE_FAULTS):
        # If this fails, the first heartbeat that succeeds registers the worker.
        await leases.worker.renew()
    could_claim = leases.worker.may_claim

    def beaten() -> None:
        nonlocal could_claim
        _gauge(workers)
        if leases.worker.may_claim and not could_claim:
            # PostgreSQL is back: claim what waits at once.
            workers.wake()
        could_claim = leases.worker.may_claim

    async with AsyncExitStack() as stack:
        if runtime.settings.worker.metrics_port is not None:
            await stack.enter_async_context(serve_health(runtime.settings.worker.metrics_port))
        background = [
            _named("jobs", workers.jobs.main()),
            _named("deliveries", workers.deliveries.main()),
            _named("subscription", _subscribe(runtime, workers)),
            _named("renew", renew_forever(runtime, beaten)),
            _named("look", look_forever(runtime)),
            _named("fleet", _keep_fleet(runtime, workers)),
            *(_named(f"sweep-{name}", loop) for name, loop in sweep.loops().items()),
            _named("prune", prune_forever(runtime)),
        ]
        stack.push_async_callback(end_tasks, background)
        log.info("worker_started", worker_id=leases.worker.id, slots=workers.jobs.max_jobs)
        await stopped.wait()
        await _drain(runtime, workers)
    await sweep.leave()
    try:
        await leases.worker.leave()
    except STORE_FAULTS as error:
        log.warning("worker_lease_not_released", error=type(error).__name__)
    log.info("worker_stopped", worker_id=leases.worker.id)


async def _drain(runtime: WorkerRuntime, workers: Workers) -> None:
    workers.stop()
    seconds = runtime.settings.worker.drain_seconds
    log.info("worker_draining", running=len(workers.jobs.tasks), seconds=seconds)
    if await workers.drain(seconds):
        runtime.jobs.leases.drain()
        if left := await workers.drain(_PUT_BACK_SECONDS):
            log.warning("worker_left_tasks", count=left)
            await end_tasks([*workers.jobs.tasks.values(), *workers.deliveries.tasks.values()])


async def _subscribe(runtime: WorkerRuntime, workers: Workers) -> None:
    checks: set[asyncio.Task[None]] = set()

    def cancelled(members: str) -> None:
        check = asyncio.create_task(runtime.jobs.leases.check(_job_ids(members)))
        checks.add(check)
        check.add_done_callback(checks.discard)

    keys, name = runtime.keys, runtime.jobs.leases.worker.name
    handlers: dict[str, Callable[[str], None]] = {
        keys.wake_one(JOB_LANES[0], name): lambda _: workers.jobs.wake(),
        keys.wake_one(Lane.DELIVERIES, name): lambda _: workers.deliveries.wake(),
        keys.wake: lambda _: workers.wake(),
        keys.cancelled: cancelled,
    }
    await listen(runtime.redis, handlers, on_connect=workers.wake)


async def _keep_fleet(runtime: WorkerRuntime, workers: Workers) -> None:
    """Reads what the caps of tenants are counted from, every few seconds."""
    while True:
        try:
            workers.caps.set(await read_fleet(runtime.database))
        except Exception as error:  # noqa: BLE001 - what was read last goes on being true enough
            log.warning("fleet_not_read", error=type(error).__name__)
        await asyncio.sleep(_FLEET_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter is no secret


def _job_ids(members: str) -> list[JobId]:
    found = []
    for member in members.split():
        with suppress(InvalidId):
            found.append(parse_job(member))
    return found


def _gauge(workers: Workers) -> None:
    SLOTS.labels(state="total").set(workers.jobs.max_jobs)
    SLOTS.labels(state="busy").set(len(workers.jobs.tasks))


def _named(name: str, coroutine: Coroutine[object, object, None]) -> "asyncio.Task[None]":
    def ended(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("worker_part_died", part=name, exc_info=task.exception())

    task = asyncio.create_task(coroutine, name=name)
    task.add_done_callback(ended)
    return task


def stop_on_signals(stopped: asyncio.Event) -> None:
    """SIGTERM and SIGINT ask for a drain."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
