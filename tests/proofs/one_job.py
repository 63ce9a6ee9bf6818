"""One job from its submission to its webhook, by the product's own parts, one after the other and without their loops.

So its steps come in the same order each time, and what is cut short stays as it was left: nothing repairs it meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError

from core.db.faults import STORE_FAULTS
from core.db.grouping import GrouperClosed, Overloaded
from core.domain.events import JOB_EVENT_TYPES
from core.domain.ids import JobId
from core.queue.connect import RedisFault
from core.queue.keys import Keys
from core.queue.worker import QueueWorker
from core.runtime import ApiRuntime, WorkerRuntime
from tests.proofs.edges import Plan, following
from tests.proofs.fresh import fresh_api, fresh_worker
from tests.support.jobs import submit
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from worker.lifecycle import make_workers

Answer = TypeVar("Answer")
# What a caller of ours may meet: it asks again.
_ASK_AGAIN: Final = (*STORE_FAULTS, GrouperClosed, Overloaded)


@dataclass(frozen=True)
class Setting:
    """Where the job goes: its model, and who is called back."""

    tenant: Tenant
    model: str
    hook: str


async def run_one_job(api: ApiRuntime, worker: WorkerRuntime, setting: Setting, name: str, plan: Plan) -> JobId:
    """Submits it until the client has an answer, then gives worker and sender one turn each. Returns the job's id.

    `name` is the client's Idempotency-Key, and the lanes' prefix, so that runs side by side do not meet in Redis.
    """
    keys = Keys(name)
    api, worker = fresh_api(api, keys), fresh_worker(worker, keys)
    with following(plan):
        job_id = await _submitted(api, setting, name, plan)
        await api.jobs.enqueuer.aclose()
        workers = make_workers(worker)
        for part in (workers.jobs, workers.deliveries):
            await one_turn(part, plan)
            await worker.jobs.enqueuer.aclose()
    return job_id


async def submit_one(api: ApiRuntime, setting: Setting, key: str, **changes: Any) -> JobId:
    """Under an Idempotency-Key, so that it may be asked for twice."""
    job = await submit(
        api.jobs,
        setting.tenant.id,
        idempotency_key=key,
        fingerprint=b"the same",
        model=setting.model,
        webhook_url=setting.hook,
        webhook_events=JOB_EVENT_TYPES,
        **changes,
    )
    return job.id


async def _submitted(api: ApiRuntime, setting: Setting, name: str, plan: Plan) -> JobId:
    asked: list[asyncio.Task[JobId]] = []
    plan.caller = lambda: asked[-1]
    while True:
        asked.append(_cancellable(lambda: submit_one(api, setting, name), "submit"))
        try:
            return await asked[-1]
        except (*_ASK_AGAIN, asyncio.CancelledError):
            continue


async def one_turn(part: QueueWorker, plan: Plan) -> None:
    """What the worker's loop does once: claims, runs what it got, and lets go of it."""
    polling = _cancellable(part._poll_iteration, "poll")
    plan.caller = lambda: next(iter(part.tasks.values()), polling)

    def is_idle() -> bool:
        # The poll waits for more to come when it got less than it wanted.
        part.wake()
        return polling.done() and not part.tasks

    await eventually(is_idle, what="the worker has nothing more to do")
    if not polling.cancelled() and isinstance(error := polling.exception(), BaseException):
        assert isinstance(error, (*RedisFault, RedisError)), error


def _cancellable(act: Callable[[], Awaitable[Answer]], name: str) -> "asyncio.Task[Answer]":
    async def run() -> Answer:
        return await act()

    return asyncio.create_task(run(), name=name)
