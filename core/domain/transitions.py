"""One constructor for each edge: the only way to describe a change of a job.

A Transition carries every column that its edge may touch, so no caller can invent a combination.
Two counters, on purpose: `attempts_used` is the budget and may be refunded, `run_no` is the fence and never
decreases. The claim is the one edge without a constructor here: it is decided and applied in one statement.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from core.domain.inference import InferenceResult
from core.domain.job_state import EDGES, Edge, JobState

MAX_WORKER_LOSSES: Final = 2


class AttemptOutcome(StrEnum):
    """How one run at a provider ended. `running` is written before the call, the rest after it."""

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

    `error_class` is a FaultClass, or the name of what stopped the job; `code` is stable and documented;
    `retry_after` is in seconds, as the provider asked.
    """

    error_class: str
    code: str
    message: str
    http_status: int | None = None
    retry_after: float | None = None
    billed: Billed = "maybe"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of one job, ready to be applied if the job is still where it is believed to be.

    `delay` is in seconds from PostgreSQL's now() and moves `run_at`; None leaves `run_at` alone. `counts_snooze` says
    that the job could not be served: how often in a row, and since when, is what its waits grow by and end by.
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
    """Back to the queue for `delay` seconds; the attempt stays used."""
    return Transition(Edge.RETRY_LATER, JobState.QUEUED, AttemptOutcome.RETRIED, delay=delay, failure=failure)


def snooze(failure: Failure, delay: float, *, counts: bool = True) -> Transition:
    """Back to the queue for `delay` seconds; the attempt is refunded. A worker that drains does not count."""
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
    failure = Failure("deadline", "deadline_exceeded", "The job's deadline passed before an answer was there.")
    return Transition(Edge.EXPIRE, JobState.EXPIRED, AttemptOutcome.EXPIRED, failure=failure)


def rescue(worker_losses: int, *, call_went_out: bool, attempts_left: bool, counts: bool = True) -> Transition:
    """The worker is gone. `worker_losses` counts the earlier ones; `attempts_left` whether the budget allows a run.

    A job whose call had not gone out is a bystander: its attempt is refunded and the loss is not held against it. A
    loss that does not count (no other worker lived on: what died was more than one worker) is bounded by the attempts.
    """
    lost = Failure(
        "worker_lost",
        "worker_lost",
        "The worker that ran this job died or lost its connection; whether the provider finished is unknown."
        if call_went_out
        else "The worker that held this job died before the call went out.",
        billed="maybe" if call_went_out else "no",
    )
    if not call_went_out:
        return Transition(
            Edge.RESCUE, JobState.QUEUED, AttemptOutcome.UNKNOWN, attempts_delta=-1, delay=0.0, failure=lost
        )
    # guard: two-lost-workers
    if (counts and worker_losses + 1 >= MAX_WORKER_LOSSES) or not attempts_left:
        return Transition(Edge.RESCUE, JobState.FAILED, AttemptOutcome.UNKNOWN, loses_worker=counts, failure=lost)
    return Transition(
        Edge.RESCUE, JobState.QUEUED, AttemptOutcome.UNKNOWN, loses_worker=counts, delay=0.0, failure=lost
    )


def retry() -> Transition:
    """A fresh budget for a job that ended without an answer; `run_no` goes on from where it was."""
    return Transition(Edge.RETRY, JobState.QUEUED, resets_attempts=True, delay=0.0)
