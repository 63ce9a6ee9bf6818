"""When to try again: pure arithmetic over a fault, the budget, the deadline and one random number.

Called by core/jobs/finish.py only. A wait is never slept in a worker: it becomes the row's `run_at`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from core.domain.transitions import Failure, Transition, fail, retry_later, snooze


class Disposition(StrEnum):
    """What a class of faults asks for; core/providers/faults.py is the only one to say it."""

    RETRY = "retry"
    SNOOZE = "snooze"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: U(0, min(cap, base · 2^n)) seconds.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    base: float
    cap: float

    def delay(self, attempt: int, rand: float) -> float:
        """The wait in seconds after attempt number `attempt` (from 1); `rand` is in [0, 1)."""
        # 2^64 seconds is far beyond any cap; the bound only keeps a float from overflowing.
        return rand * min(self.cap, self.base * 2.0 ** min(attempt - 1, 64))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`retry` spaces attempts after a fault, `throttle` spaces snoozes, which cost no attempt."""

    retry: Backoff
    throttle: Backoff
    max_retry_after: float


DEFAULT_POLICY: Final = RetryPolicy(
    retry=Backoff(base=0.5, cap=30.0), throttle=Backoff(base=1.0, cap=60.0), max_retry_after=3600.0
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a running job has left. `attempts_used` counts the attempt that just ended; no deadline is None."""

    attempts_used: int
    max_attempts: int
    run_no: int
    seconds_left: float | None


def decide(failure: Failure, disposition: Disposition, budget: Budget, policy: RetryPolicy, rand: float) -> Transition:
    """The edge that a failed attempt takes.

    A `Retry-After` is a minimum: jitter goes on top of it, so that a herd does not come back at one instant.
    A wait that would end behind the deadline is not taken: the job fails at once and says so.
    """
    match disposition:
        case Disposition.GIVE_UP:
            return fail(failure)
        case Disposition.RETRY if budget.attempts_used >= budget.max_attempts:
            return fail(failure)
        case Disposition.RETRY:
            delay = _wait(failure, policy, policy.retry.delay(budget.attempts_used, rand))
            return retry_later(failure, delay) if _fits(budget, delay) else fail(failure)
        case Disposition.SNOOZE:
            # A snoozed job gets its attempt back, so run_no is what grows with each one.
            delay = _wait(failure, policy, policy.throttle.delay(budget.run_no, rand))
            return snooze(failure, delay) if _fits(budget, delay) else fail(failure)
        case _ as never:
            assert_never(never)


def _fits(budget: Budget, delay: float) -> bool:
    return budget.seconds_left is None or delay < budget.seconds_left


def _wait(failure: Failure, policy: RetryPolicy, jitter: float) -> float:
    return min(failure.retry_after or 0.0, policy.max_retry_after) + jitter
