"""Stop 5 of 9 · from worker/tasks/run_job.py · to core/providers/port.py

Runs a job once: claims it with others (transaction 2), calls its provider under the lease, and hands the outcome to
finish.
No transaction is open during the call. Everything that can happen becomes one Transition, or nothing at all when the
job is no longer this run's.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import structlog

from core.db.faults import STORE_FAULTS
from core.db.grouping import Overloaded
from core.db.sealed import SealBroken, WrongKey
from core.domain import transitions
from core.domain.errors import AppError, InvalidParameter
from core.domain.ids import JobId, show_job
from core.domain.inference import InferenceRequest, InferenceResult
from core.domain.retry import Backoff, Budget, Disposition, RetryPolicy, decide
from core.domain.run_again import DONE, RunAgain, again_in
from core.domain.transitions import Failure, Transition
from core.jobs.context import RunContext
from core.jobs.finish import finish_job
from core.jobs.heartbeat import Lease, LeaseEnd, LeaseEnded
from core.jobs.records import ClaimedJob, NotDue, Run
from core.observability.context import bound
from core.observability.logs import LogThrottle
from core.observability.metrics import MISCONFIGURED, QUEUE_WAIT, RUN_TIME, count, observe
from core.providers.faults import Fault, FaultCode
from core.providers.port import Provider
from core.routing.router import Go, Wait

_DRAINED: Final = Failure(
    "worker_stopped", "worker_stopped", "The worker was stopped; the job goes on elsewhere at no cost of an attempt."
)
_STORE_PAUSE_SECONDS: Final = 0.2
_THROTTLE: Final = LogThrottle(seconds=60.0)

log = structlog.get_logger(__name__)


class _Unusable(Exception):
    """What was stored can't be sent to any provider, whoever tries."""


class _PutBack(Exception):
    """No call went out, and the job is as good as before: `hold` seconds are to pass, or as many as it backs off."""

    def __init__(self, reason: Failure, asked: Disposition, hold: float | None = None) -> None:
        super().__init__(reason.code)
        self.reason = reason
        self.asked = asked
        self.hold = hold


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A job that is ours to run, and when its claim was sent, by the loop's clock."""

    job: ClaimedJob
    claimed_at: float
    claimant: str | None = None


async def claim_jobs(context: RunContext, job_ids: Sequence[JobId]) -> list[ClaimedRun | RunAgain | BaseException]:
    """Claims many in one statement. Of each: its run; when to ask again, Done where it is not to be run by anybody who
    asks now; or what PostgreSQL's absence raised. Raises Overloaded or GrouperClosed for all of them.
    """
    claimed_at, claimant = asyncio.get_running_loop().time(), context.leases.worker.id
    found: list[ClaimedRun | RunAgain | BaseException] = []
    for outcome in await context.group_commit.claim_many(job_ids):
        match outcome:
            case ClaimedJob():
                found.append(ClaimedRun(outcome, claimed_at, claimant))
            case NotDue(seconds=seconds):
                found.append(again_in(seconds))
            case None:
                found.append(DONE)
            case BaseException():
                found.append(outcome)
    return found


async def run_claimed(context: RunContext, run: ClaimedRun) -> RunAgain:
    """Runs a claimed job."""
    job = run.job
    observe(QUEUE_WAIT, max(0.0, job.queue_seconds), job.priority.value)
    with bound(job_id=show_job(job.id), model=job.model, attempt=job.attempts_used, run_no=job.run_no):
        async with context.leases.hold(job, run.claimant) as lease:
            transition = await _run(context, job, lease, run.claimed_at)
            return DONE if transition is None else await finish_job(context, job, transition)


async def _run(context: RunContext, job: ClaimedJob, lease: Lease, claimed_at: float) -> Transition | None:
    """How the run ended; None when it is nobody's business any more."""
    deadline = None if job.seconds_left is None else claimed_at + job.seconds_left
    hold, say = None, log.info
    try:
        return transitions.succeed(await _infer(context, job, lease, deadline))
    except Fault as fault:
        failure, asked = fault.failure(), fault.disposition
        if asked is Disposition.WAIT_OUT:
            hold = context.router.hold(*_split(job.model))
    except _PutBack as back:
        # Thousands may be put off at once; the breaker and the worker say why, once.
        failure, asked, hold, say = back.reason, back.asked, back.hold, log.debug
    except LeaseEnded as ended:
        log.info("run_ended_early", why=ended.end.value)
        return None if ended.end is LeaseEnd.LOST else transitions.snooze(_DRAINED, 0.0, counts=False)
    except _Unusable as error:
        log.warning("request_unusable", error=str(error))
        return transitions.fail(Failure("bad_request", "request_unusable", str(error), billed="no"))
    now = asyncio.get_running_loop().time()
    left = None if deadline is None else deadline - now
    if left is not None and left <= 0:
        return transitions.expire()
    waited = job.snoozed_seconds + now - claimed_at if job.snoozes else 0.0
    budget = Budget(job.attempts_used, job.max_attempts, job.snoozes, waited, left)
    jitter = random.random()  # noqa: S311 - jitter is no secret
    transition = decide(failure, asked, budget, _policy(context, job), jitter, hold=hold)
    say("attempt_failed", error_class=failure.error_class, code=failure.code, edge=transition.edge.value)
    return transition


async def _infer(context: RunContext, job: ClaimedJob, lease: Lease, deadline: float | None) -> InferenceResult:
    """One call, or the answer that an earlier run left behind. Raises Fault, LeaseEnded, _PutBack or _Unusable."""
    # guard: spool-before-call
    if job.follows_lost_run and (spooled := await context.spool.take(job)) is not None:
        log.info("spooled_answer_used")
        return spooled
    left = math.inf if deadline is None else max(deadline - asyncio.get_running_loop().time(), 0.001)
    provider, request = _prepare(context, job, lease, min(job.timeout_seconds, left))
    go = context.router.admit(*_split(job.model))
    if isinstance(go, Wait):
        raise _PutBack(go.reason, Disposition.WAIT_OUT, go.seconds)
    try:
        await _announce_call(context, job, lease)
        async with lease.open_call():
            return await _call(provider, request, go)
    finally:
        go.abandon()


def _prepare(context: RunContext, job: ClaimedJob, lease: Lease, timeout: float) -> tuple[Provider, InferenceRequest]:
    """What this worker calls, and with what. Raises _PutBack when it lacks something that others have, or _Unusable."""
    try:
        provider, name = context.catalogue.resolve(job.model)
        return provider, _request(context, job, lease, name, timeout)
    except InvalidParameter as error:
        raise _left_to_others("provider", error.message) from error
    except WrongKey as error:
        raise _left_to_others("master_key", str(error)) from error
    except (AppError, SealBroken, ValueError, TypeError, KeyError) as error:
        raise _Unusable(str(error)) from error


def _left_to_others(lacks: str, why: str) -> _PutBack:
    count(MISCONFIGURED, lacks)
    if (suppressed := _THROTTLE.suppressed(lacks)) is not None:
        log.error("worker_misconfigured", lacks=lacks, why=why, jobs=suppressed + 1)
    message = f"The worker that took the job can't run it: {why}"
    return _PutBack(Failure("misconfigured", "worker_misconfigured", message, billed="no"), Disposition.SNOOZE)


def _policy(context: RunContext, job: ClaimedJob) -> RetryPolicy:
    """The job's own waits. One that an older release submitted has none, and gets the settings'."""
    initial = job.retry_initial_seconds or context.settings.retry_initial_seconds
    longest = job.retry_max_seconds or context.settings.retry_max_seconds
    return RetryPolicy(
        Backoff(initial, longest),
        context.settings.patience_seconds,
        # A job's own waits may be shorter than where the operator lets waits begin; its snoozes may not.
        shortest_snooze=context.settings.retry_initial_seconds,
    )


def _split(model: str) -> tuple[str, str]:
    provider, _, name = model.partition("/")
    return provider, name


async def _announce_call(context: RunContext, job: ClaimedJob, lease: Lease) -> None:
    """Writes that the call goes out now, as soon as PostgreSQL takes it. Raises LeaseEnded when it came too late.

    While the worker's lease may be over nobody knows whose the job is: the call waits for the next renewal.
    """
    while True:
        lease.check()
        if not lease.may_call:
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
            continue
        try:
            ours = await context.group_commit.mark_called(Run(job.id, job.tenant_id, job.run_no))
        except (*STORE_FAULTS, Overloaded) as error:
            log.warning("call_waiting_for_database", error=type(error).__name__)
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
            continue
        # guard: call-own-run
        if not ours:
            raise LeaseEnded(LeaseEnd.LOST)
        if lease.may_call:
            return


async def _call(provider: Provider, request: InferenceRequest, go: Go) -> InferenceResult:
    started = asyncio.get_running_loop().time()
    try:
        result = await provider.infer(request)
    except Fault as fault:
        go.settle(fault)
        raise
    except Exception as error:
        # An adapter's bug costs the job an attempt, not the worker its lease.
        log.exception("provider_crashed", provider=go.provider)
        raise Fault(FaultCode.ADAPTER_ERROR, detail=type(error).__name__) from error
    else:
        go.settle(None)
        return result
    finally:
        observe(RUN_TIME, asyncio.get_running_loop().time() - started, go.provider)


def _request(context: RunContext, job: ClaimedJob, lease: Lease, name: str, timeout: float) -> InferenceRequest:
    stored = orjson.loads(context.sealer.open(job.request, job.tenant_id, "jobs.request", job.id))
    return InferenceRequest(
        job_id=job.id,
        model=name,
        messages=tuple(stored["messages"]),
        params=stored["params"],
        attempt=job.attempts_used,
        run_no=job.run_no,
        timeout=timeout,
        may_send=lambda: lease.is_valid,
    )
