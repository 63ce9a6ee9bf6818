"""The use cases of core as operations: what really happens, and what the model says must come of it.

An operation can be run alone, or two of them at the same time: then the answers and the rows must be those of one of
the two orders, or of one operation alone where the other may pass over a locked row.
"""

import copy
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from core.domain import transitions
from core.domain.errors import Gone, InvalidParameter
from core.domain.ids import DeliveryId, JobId, TenantId
from core.domain.job_state import TERMINAL, JobState
from core.domain.run_again import DONE, RunAgain, again_in
from core.domain.transitions import Transition
from core.jobs.cancel import cancel_jobs
from core.jobs.delete import delete_job
from core.jobs.finish import finish_job
from core.jobs.heartbeat import Leases
from core.jobs.prune import prune
from core.jobs.records import ClaimedJob, NotDue, Run
from core.jobs.retry import retry_jobs
from core.jobs.sweep import expire_jobs, rescue_jobs
from core.runtime import WorkerRuntime
from core.settings import RetentionSettings
from core.webhooks.deliveries.records import ClaimedDelivery, Ended
from core.webhooks.egress.exchange import Timing
from tests.proofs.job_model import HeldKey, Job, Model
from tests.proofs.system import System
from tests.support.jobs import submit

# The events of every job of the machine; the machine's jobs without a webhook name none.
ALL_EVENTS: Final = ("job.succeeded", "job.failed", "job.cancelled", "job.expired")
HOOK: Final = "https://receiver.test/hook"
_AN_HOUR: Final = 3600.0
_AT_ONCE: Final = RetentionSettings(succeeded_days=1e-12, failed_days=1e-12, deleted_days=3650)


@dataclass(frozen=True)
class Operation:
    """`act` does it and answers; `expect` does it to the model and says what the answer must be.

    One that takes rows with SKIP LOCKED may find a row locked: then it changes nothing and answers `if_locked`.
    """

    act: Callable[[], Awaitable[Any]]
    expect: Callable[[Model], Any]
    if_locked: Any = None


@dataclass(frozen=True)
class Wish:
    """What a submit of the machine asks for."""

    tenant_id: TenantId
    key: str | None
    fingerprint: bytes
    max_attempts: int
    later: bool
    deadline: bool
    webhook: bool


def submitting(system: System, wish: Wish, made: list[UUID]) -> Operation:
    """Appends the job's id to `made`. Returns `new`, `replayed`, `reused` or `gone`."""

    async def act() -> str:
        known = set(made)
        try:
            job = await submit(
                system.api.jobs,
                wish.tenant_id,
                idempotency_key=wish.key,
                fingerprint=None if wish.key is None else wish.fingerprint,
                max_attempts=wish.max_attempts,
                run_at=datetime.now(UTC) + timedelta(seconds=_AN_HOUR) if wish.later else None,
                deadline_seconds=_AN_HOUR if wish.deadline else None,
                webhook_url=HOOK if wish.webhook else None,
                webhook_events=ALL_EVENTS if wish.webhook else (),
            )
        except InvalidParameter as error:
            return error.code.removeprefix("idempotency_key_")
        except Gone:
            return "gone"
        made.append(job.id)
        return "replayed" if job.id in known else "new"

    def expect(model: Model) -> str:
        held = None if wish.key is None else model.keys.get((wish.tenant_id, wish.key))
        if held is not None and not held.lapsed:
            if held.fingerprint != wish.fingerprint:
                return "reused"
            return "replayed" if held.job_id in model.jobs else "gone"
        job_id = made[-1]
        events = frozenset(ALL_EVENTS) if wish.webhook else frozenset[str]()
        model.jobs[job_id] = Job(job_id, wish.tenant_id, wish.max_attempts, events, not wish.later, wish.deadline)
        if wish.key is not None:
            model.keys[wish.tenant_id, wish.key] = HeldKey(wish.fingerprint, job_id)
        return "new"

    return Operation(act, expect)


def claiming(worker: WorkerRuntime, job_id: UUID, runs: list[ClaimedJob]) -> Operation:
    """Appends the run to `runs`. Returns `claimed`, `not_due` or `refused`."""

    async def act() -> str:
        match await worker.jobs.group_commit.claim(JobId(job_id)):
            case ClaimedJob() as claimed:
                runs.append(claimed)
                return "claimed"
            case NotDue():
                return "not_due"
            case None:
                return "refused"

    return Operation(
        act, lambda model: model.jobs[job_id].claim() if job_id in model.jobs else "refused", if_locked="refused"
    )


def calling(worker: WorkerRuntime, run: ClaimedJob) -> Operation:
    """Writes that the call goes out. Returns whether it may."""

    async def act() -> bool:
        return await worker.jobs.group_commit.mark_called(Run(run.id, run.tenant_id, run.run_no))

    return Operation(act, lambda model: run.id in model.jobs and model.jobs[run.id].call(run.run_no))


def looking(system: System, run: ClaimedJob) -> Operation:
    """Whether the worker that claimed the run finds that it still has it."""

    async def goes_on(worker: WorkerRuntime) -> bool:
        leases = Leases(worker.database, worker.jobs.leases.worker)
        async with leases.hold(run) as lease:
            await leases.look()
            return lease.ended is None

    async def act() -> bool:
        return any([await goes_on(worker) for worker in system.workers])

    return Operation(act, lambda model: run.id in model.jobs and model.jobs[run.id].is_known(run.run_no))


def finishing(worker: WorkerRuntime, run: ClaimedJob, transition: Transition) -> Operation:
    """Returns when the job runs again."""

    async def act() -> RunAgain:
        return await finish_job(worker.jobs, run, transition)

    def expect(model: Model) -> RunAgain:
        applied = run.id in model.jobs and model.jobs[run.id].finish(run.run_no, transition)
        return again_in(transition.delay or 0.0) if applied and transition.to_state is JobState.QUEUED else DONE

    return Operation(act, expect)


def cancelling(system: System, tenant_id: TenantId, job_id: UUID) -> Operation:
    """Returns the state before, if the caller has such a job, and whether it was cancelled."""

    async def act() -> tuple[JobState | None, bool]:
        outcome = await cancel_jobs(system.api.jobs, tenant_id, [JobId(job_id)])
        return outcome.states.get(JobId(job_id)), job_id in outcome.changed

    return Operation(
        act, lambda model: _changed(model, tenant_id, job_id, lambda job: job.cancel(transitions.cancel()))
    )


def retrying(system: System, tenant_id: TenantId, job_id: UUID) -> Operation:
    """Answers as `cancelling`."""

    async def act() -> tuple[JobState | None, bool]:
        outcome = await retry_jobs(system.api.jobs, tenant_id, [JobId(job_id)])
        return outcome.states.get(JobId(job_id)), job_id in outcome.changed

    return Operation(act, lambda model: _changed(model, tenant_id, job_id, lambda job: job.retry(transitions.retry())))


def _changed(
    model: Model, tenant_id: TenantId, job_id: UUID, change: Callable[[Job], bool]
) -> tuple[JobState | None, bool]:
    job = model.jobs.get(job_id)
    if job is None or job.tenant_id != tenant_id:
        return None, False
    before = job.state
    return before, change(job)


def deleting(system: System, tenant_id: TenantId, job_id: UUID) -> Operation:
    """Returns whether the caller had such a job."""

    async def act() -> bool:
        return await delete_job(system.api.jobs, tenant_id, JobId(job_id))

    def expect(model: Model) -> bool:
        job = model.jobs.get(job_id)
        if job is None or job.tenant_id != tenant_id:
            return False
        # Cancelled first, if it has not ended: who asked for it gets its webhook.
        job.cancel(transitions.cancel())
        model.delete(job_id)
        return True

    return Operation(act, expect)


def rescuing(worker: WorkerRuntime) -> Operation:
    """Returns how many were found."""

    def expect(model: Model) -> int:
        lost = [job for job in model.jobs.values() if job.is_lost()]
        for job in lost:
            blamed, ends = job.loss()
            transition = transitions.rescue(
                job.worker_losses, call_went_out=blamed, attempts_left=job.attempts_used < job.max_attempts
            )
            assert (transition.to_state is JobState.FAILED) == ends
            job.rescue(transition)
        return len(lost)

    return Operation(lambda: rescue_jobs(worker.jobs), expect)


def expiring(worker: WorkerRuntime) -> Operation:
    """Returns how many were found."""
    return Operation(
        lambda: expire_jobs(worker.jobs),
        lambda model: sum(job.expire(transitions.expire()) for job in model.jobs.values()),
    )


def pruning(worker: WorkerRuntime) -> Operation:
    """With a retention of no time at all: everything that ended goes, unless its webhook is on its way."""

    async def act() -> None:
        await prune(worker.jobs, _AT_ONCE)

    def expect(model: Model) -> None:
        for job in list(model.jobs.values()):
            if job.state in TERMINAL and all(each.state != "pending" for each in job.deliveries):
                model.delete(job.id)
        model.keys = {name: held for name, held in model.keys.items() if not held.lapsed}

    return Operation(act, expect)


def sending(worker: WorkerRuntime, job_id: UUID, index: int, sent: list[ClaimedDelivery]) -> Operation:
    """Leases one delivery, as its sender does before the POST, and appends it to `sent`. Returns whether it did.

    One that is free may still have to wait: a receiver is not sent everything at once.
    """

    async def act() -> bool:
        claimed = await worker.deliveries.claim(await _delivery_id(worker, job_id, index))
        if isinstance(claimed, ClaimedDelivery):
            sent.append(claimed)
        return isinstance(claimed, ClaimedDelivery)

    def expect(model: Model) -> bool:
        delivery = model.jobs[job_id].deliveries[index]
        if not delivery.is_free or not sent:
            return False
        delivery.attempts += 1
        delivery.leased_for, delivery.lease_alive = delivery.attempts, True
        return True

    return Operation(act, expect)


def recording(worker: WorkerRuntime, job_id: UUID, index: int, sent: ClaimedDelivery, state: str) -> Operation:
    """How the POST ended: `delivered`, `exhausted`, or `pending` for one that is tried again at once."""

    async def act() -> bool:
        delay = 0.0 if state == "pending" else None
        ended = Ended(sent, state, datetime.now(UTC), Timing(), delay=delay, status=200)
        return await worker.deliveries.record(ended)

    def expect(model: Model) -> bool:
        if job_id in model.jobs:
            known = [model.jobs[job_id].deliveries[index]]
        else:
            known = [each for each in model.outliving.get(job_id, ()) if each.event_type == sent.event_type]
        held = [each for each in known if each.leased_for == sent.attempts and each.state == "pending"]
        if not held:
            return False
        delivery = held[0]
        delivery.state, delivery.leased_for, delivery.lease_alive = state, None, False
        return True

    return Operation(act, expect)


def outcomes(model: Model, first: Operation, second: Operation) -> Iterator[tuple[list[Any], Model]]:
    """What may come of both at the same time: the two answers, and the model then."""
    for order in ((first, second), (second, first)):
        after = copy.deepcopy(model)
        answers = {id(operation): operation.expect(after) for operation in order}
        yield [answers[id(first)], answers[id(second)]], after
        for passes in order:
            if passes.if_locked is not None:
                after = copy.deepcopy(model)
                alone = {id(each): each.if_locked if each is passes else each.expect(after) for each in order}
                yield [alone[id(first)], alone[id(second)]], after


async def _delivery_id(worker: WorkerRuntime, job_id: UUID, index: int) -> DeliveryId:
    found = await worker.database.pool.fetchval(
        "SELECT id FROM deliveries WHERE job_id = $1 ORDER BY created_at, id OFFSET $2 LIMIT 1", job_id, index
    )
    return DeliveryId(found)
