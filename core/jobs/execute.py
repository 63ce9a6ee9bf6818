"""Stop 5 of 9 · from worker/tasks/run_job.py · to core/providers/port.py

Runs a job once: claims it (transaction 2), calls its provider under the lease, and hands the outcome to finish.
No transaction is open during the call. Everything that can happen becomes one Transition, or nothing at all when the
job is no longer this run's.
"""

import asyncio
import math
import random
from typing import Final

import orjson
import structlog

from core.db.batching import Overloaded
from core.db.sealed import SealBroken
from core.domain import transitions
from core.domain.errors import AppError
from core.domain.ids import JobId, show_job
from core.domain.inference import InferenceRequest, InferenceResult
from core.domain.retry import DEFAULT_POLICY, Budget, decide
from core.domain.transitions import Failure, Transition
from core.jobs.context import RunContext
from core.jobs.finish import STORE_AWAY, finish_job
from core.jobs.heartbeat import Lease, LeaseEnd, LeaseEnded
from core.jobs.records import ClaimedJob, NotDue
from core.observability.context import bound
from core.observability.metrics import QUEUE_WAIT, RUN_TIME, observe
from core.providers.faults import Fault, FaultCode
from core.providers.port import Provider

_DRAINED: Final = Failure(
    "worker_stopped", "worker_stopped", "The worker was stopped; the job goes on elsewhere at no cost of an attempt."
)
_STORE_PAUSE_SECONDS: Final = 0.2

log = structlog.get_logger(__name__)


class _Unusable(Exception):
    """What was stored can't be sent to any provider, whoever tries."""


async def execute_job(context: RunContext, job_id: JobId) -> float | None:
    """Claims and runs the job. Answers after how many seconds to ring for it again, or None."""
    claimed_at = asyncio.get_running_loop().time()
    match await context.group_commit.claims.submit(job_id):
        case None:
            return None
        case NotDue(seconds=seconds):
            return seconds
        case ClaimedJob() as job:
            observe(QUEUE_WAIT, max(0.0, job.queue_seconds), job.priority.value)
            with bound(job_id=show_job(job.id), model=job.model, attempt=job.attempts_used, run_no=job.run_no):
                async with context.leases.hold(job) as lease:
                    transition = await _run(context, job, lease, claimed_at)
                    return None if transition is None else await finish_job(context, job, transition)


async def _run(context: RunContext, job: ClaimedJob, lease: Lease, claimed_at: float) -> Transition | None:
    """How the run ended; None when it is nobody's business any more."""
    deadline = None if job.seconds_left is None else claimed_at + job.seconds_left
    try:
        return transitions.succeed(await _infer(context, job, lease, deadline))
    except Fault as fault:
        failure, asked = fault.failure(), fault.disposition
    except LeaseEnded as ended:
        log.info("run_ended_early", why=ended.end.value)
        return None if ended.end is LeaseEnd.LOST else transitions.snooze(_DRAINED, 0.0)
    except _Unusable as error:
        log.warning("request_unusable", error=str(error))
        return transitions.fail(Failure("bad_request", "request_unusable", str(error), billed="no"))
    left = None if deadline is None else deadline - asyncio.get_running_loop().time()
    if left is not None and left <= 0:
        return transitions.expire()
    budget = Budget(job.attempts_used, job.max_attempts, job.run_no, left)
    transition = decide(failure, asked, budget, DEFAULT_POLICY, random.random())  # noqa: S311 - jitter is no secret
    log.info("attempt_failed", error_class=failure.error_class, code=failure.code, edge=transition.edge.value)
    return transition


async def _infer(context: RunContext, job: ClaimedJob, lease: Lease, deadline: float | None) -> InferenceResult:
    """One call, or the answer that an earlier run left behind. Raises Fault, LeaseEnded or _Unusable."""
    if job.follows_lost_run and (spooled := await context.spool.take(job)) is not None:
        log.info("spooled_answer_used")
        return spooled
    left = math.inf if deadline is None else max(deadline - asyncio.get_running_loop().time(), 0.001)
    try:
        provider, name = context.catalogue.resolve(job.model)
        request = _request(context, job, name, min(job.timeout_seconds, left))
    except (AppError, SealBroken, ValueError, TypeError, KeyError) as error:
        raise _Unusable(str(error)) from error
    await _announce_call(context, job, lease)
    async with lease.open_call():
        return await _call(provider, request, job.model.partition("/")[0])


async def _announce_call(context: RunContext, job: ClaimedJob, lease: Lease) -> None:
    """Writes that the call goes out now, as soon as PostgreSQL takes it. Raises LeaseEnded when it came too late.

    While the worker's lease may be over nobody knows whose the job is: the call waits for the next renewal.
    """
    while True:
        lease.check()
        if not lease.is_valid:
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
            continue
        try:
            ours = await context.group_commit.calls.submit((job.id, job.tenant_id, job.run_no))
        except (*STORE_AWAY, Overloaded) as error:
            log.warning("call_waits_for_store", error=type(error).__name__)
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
            continue
        if not ours:
            raise LeaseEnded(LeaseEnd.LOST)
        if lease.is_valid:
            return


async def _call(provider: Provider, request: InferenceRequest, name: str) -> InferenceResult:
    started = asyncio.get_running_loop().time()
    try:
        return await provider.infer(request)
    except Fault:
        raise
    except Exception as error:
        # An adapter's bug costs the job an attempt, not the worker its lease.
        log.exception("provider_crashed", provider=name)
        raise Fault(FaultCode.ADAPTER_ERROR, detail=type(error).__name__) from error
    finally:
        observe(RUN_TIME, asyncio.get_running_loop().time() - started, name)


def _request(context: RunContext, job: ClaimedJob, name: str, timeout: float) -> InferenceRequest:
    stored = orjson.loads(context.sealer.open(job.request, job.tenant_id, "jobs.request", job.id))
    return InferenceRequest(
        job_id=job.id,
        model=name,
        messages=tuple(stored["messages"]),
        params=stored["params"],
        attempt=job.attempts_used,
        run_no=job.run_no,
        timeout=timeout,
    )
