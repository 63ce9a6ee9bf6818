"""One constructor for each edge: the only way to describe a change of a job.

A Transition carries every column that its edge may change, so no caller can build an illegal combination. There are two
counters on purpose: `attempts_used` is the budget and may be refunded; `run_no` is the fence and never decreases.
Only the claim has no constructor: core/jobs/sql/claim.sql decides and applies it in one statement.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from core.domain.inference import InferenceResult
from core.domain.job_state import EDGES, Edge, JobState

MAX_WORKER_LOSSES: Final = 2


class AttemptOutcome(StrEnum):
    """The outcome of an attempt. `running` is written before the call, the others after it."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    SNOOZED = "snoozed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


Billed = Literal["no", "maybe", "yes"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt or a job did not succeed, safe to show to the caller.

    `error_class` is a FaultClass, or names what stopped the job. `code` is stable and documented. `retry_after` is the
    provider's, in seconds. `billed` says whether the provider charged for the call.
    """

    error_class: str
    code: str
    message: str
    http_status: int | None = None
    retry_after: float | None = None
    billed: Billed = "maybe"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of one job; it is applied only if the job is still in one of `from_states`.

    `delay` is in seconds from PostgreSQL's now() and sets `run_at`; None keeps `run_at`. `counts_snooze` adds one to
    the snoozes in a row: their number lengthens the waits, and the time since the first one ends them.
    """

    edge: Edge
    to_state: JobState
    attempt_outcome: AttemptOutcome | None = None
    attempts_delta: int = 0
    resets_attempts: bool = False
    loses_worker: bool = False
    counts_snooze: bool = False
    delay: float | None = None
    failure: Failure | None = None
    result: InferenceResult | None = None

    @property
    def from_states(self) -> frozenset[JobState]:
        return EDGES[self.edge].from_states


def succeed(result: InferenceResult) -> Transition:
    return Transition(Edge.SUCCEED, JobState.SUCCEEDED, AttemptOutcome.SUCCEEDED, result=result)


def retry_later(failure: Failure, delay: float) -> Transition:
    """Queues the job again after `delay` seconds; the attempt counts."""
    return Transition(Edge.RETRY_LATER, JobState.QUEUED, AttemptOutcome.RETRIED, delay=delay, failure=failure)


def snooze(failure: Failure, delay: float, *, counts: bool = True) -> Transition:
    """Queues the job again after `delay` seconds and refunds the attempt. A draining worker passes `counts=False`."""
    return Transition(
        Edge.SNOOZE,
        JobState.QUEUED,
        AttemptOutcome.SNOOZED,
        attempts_delta=-1,
        counts_snooze=counts,
        delay=delay,
        failure=failure,
    )


def fail(failure: Failure) -> Transition:
    return Transition(Edge.FAIL, JobState.FAILED, AttemptOutcome.FAILED, failure=failure)


def cancel() -> Transition:
    failure = Failure("cancelled", "cancelled", "The job was cancelled on request.")
    return Transition(Edge.CANCEL, JobState.CANCELLED, AttemptOutcome.CANCELLED, failure=failure)


def expire() -> Transition:
    failure = Failure("deadline", "deadline_exceeded", "The job's deadline passed before it had finished.")
    return Transition(Edge.EXPIRE, JobState.EXPIRED, AttemptOutcome.EXPIRED, failure=failure)


def rescue(worker_losses: int, *, call_went_out: bool, attempts_left: bool, counts: bool = True) -> Transition:
    """Puts back, or fails, a job whose worker is dead. `worker_losses` counts the job's earlier losses.

    A job whose call had not been sent can't have killed the worker: its attempt is refunded and the loss does not
    count. `counts` is False when no other worker survived, because then more than this job's worker failed; such losses
    are bounded by the attempts (`attempts_left`).
    """
    lost = Failure(
        "worker_lost",
        "worker_lost",
        "The worker that ran this job died or lost its connection; whether the provider finished the call is unknown."
        if call_went_out
        else "The worker that held this job died before the call was sent.",
        billed="maybe" if call_went_out else "no",
    )
    if not call_went_out:
        return Transition(
            Edge.RESCUE, JobState.QUEUED, AttemptOutcome.UNKNOWN, attempts_delta=-1, delay=0.0, failure=lost
        )
    if (counts and worker_losses + 1 >= MAX_WORKER_LOSSES) or not attempts_left:
        return Transition(Edge.RESCUE, JobState.FAILED, AttemptOutcome.UNKNOWN, loses_worker=counts, failure=lost)
    return Transition(
        Edge.RESCUE, JobState.QUEUED, AttemptOutcome.UNKNOWN, loses_worker=counts, delay=0.0, failure=lost
    )


def retry() -> Transition:
    """Queues a failed, cancelled or expired job again with a new budget; `run_no` continues."""
    return Transition(Edge.RETRY, JobState.QUEUED, resets_attempts=True, delay=0.0)
