"""When to try again: pure arithmetic over a fault, the budget, the deadline and one random number.

core/jobs/submit.py uses it for a job's limits, core/jobs/execute.py for the edge that a fault takes. No worker sleeps
for a wait: it becomes the row's `run_at`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from core.domain.transitions import Failure, Transition, fail, retry_later, snooze

_HOUR: Final = 3600.0
# Seconds; a wait shorter than this is not shortened further to fit the deadline.
_SHORTEST_CUT: Final = 1.0


class Disposition(StrEnum):
    """How a class of faults is retried. Only core/providers/faults.py assigns it.

    `snooze` and `wait_out` cost no attempt. Snoozes grow longer each time. `wait_out` is for outages that are usually
    over within a minute: the job tries again within seconds.
    """

    RETRY = "retry"
    SNOOZE = "snooze"
    WAIT_OUT = "wait_out"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles from `base` to `cap` seconds; half of each wait is fixed and half is random.

    Full jitter spreads a little better, but its waits may all be near zero, so no number of attempts is sure to outlast
    a restart. https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("equal jitter")
    """

    base: float
    cap: float

    def delay(self, number: int, rand: float) -> float:
        """Returns the wait in seconds after attempt or snooze `number` (from 1); `rand` is in [0, 1)."""
        # The bound keeps the float from overflowing; 2^64 seconds is far beyond any cap.
        return (1.0 + rand) / 2.0 * min(self.cap, self.base * 2.0 ** min(number - 1, 64))


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How often and how far apart a job is tried. None falls back to the next level: job, provider, settings."""

    max_attempts: int | None = None
    initial_seconds: float | None = None
    max_seconds: float | None = None

    def within(self, wider: "RetryLimits") -> "RetryLimits":
        """Fills the gaps from `wider`. An inherited `max_seconds` never shortens this level's own `initial_seconds`."""
        initial = wider.initial_seconds if self.initial_seconds is None else self.initial_seconds
        longest = wider.max_seconds if self.max_seconds is None else self.max_seconds
        if initial is not None and longest is not None and initial > longest:
            initial, longest = (initial, initial) if self.max_seconds is None else (longest, longest)
        attempts = wider.max_attempts if self.max_attempts is None else self.max_attempts
        return RetryLimits(attempts, initial, longest)


NO_LIMITS: Final = RetryLimits()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`backoff` spaces attempts and snoozes; `patience` is how long a job may be snoozed in a row. All in seconds.

    Snoozes cost no attempt, so a job's own short waits must not turn them into a loop: each takes at least half of
    `shortest_snooze`.
    """

    backoff: Backoff
    patience: float
    shortest_snooze: float = 0.0
    outage_cap: float = 5.0
    max_retry_after: float = _HOUR


@dataclass(frozen=True, slots=True)
class Budget:
    """What a running job has left. `attempts_used` includes the attempt that just ended.

    `snoozes` counts the snoozes in a row before this run, and `waited` the seconds since the first of them.
    `seconds_left` until the deadline is None when the job has none.
    """

    attempts_used: int
    max_attempts: int
    snoozes: int = 0
    waited: float = 0.0
    seconds_left: float | None = None


def decide(
    failure: Failure,
    disposition: Disposition,
    budget: Budget,
    policy: RetryPolicy,
    rand: float,
    *,
    hold: float | None = None,
) -> Transition:
    """Returns the edge that a failed attempt takes. `hold` overrides the wait of `wait_out`, in seconds.

    `Retry-After` is a minimum: jitter is added to it, so that many jobs do not return at the same instant. If a wait
    would end after the deadline, the job fails at once with the fault.
    """
    match disposition:
        case Disposition.GIVE_UP:
            return fail(failure)
        case Disposition.RETRY if budget.attempts_used >= budget.max_attempts:
            return fail(failure)
        case Disposition.RETRY:
            delay = _asked(failure, policy) + policy.backoff.delay(budget.attempts_used, rand)
            return retry_later(failure, delay) if _fits(budget, delay) else fail(failure)
        case Disposition.SNOOZE | Disposition.WAIT_OUT if budget.waited >= policy.patience:
            return fail(_given_up(failure, budget.waited))
        case Disposition.SNOOZE:
            delay = _asked(failure, policy) + _own_snooze(budget, policy, rand)
            return snooze(failure, delay) if _fits(budget, delay) else fail(failure)
        case Disposition.WAIT_OUT:
            own = min(_own_snooze(budget, policy, rand), policy.outage_cap) if hold is None else hold
            delay = _asked(failure, policy) + _cut(own, budget)
            return snooze(failure, delay) if _fits(budget, delay) else fail(failure)
        case _ as never:
            assert_never(never)


def _own_snooze(budget: Budget, policy: RetryPolicy, rand: float) -> float:
    """Returns the wait of a snooze without `Retry-After`; it has a minimum even if the job sets its waits to zero."""
    shortest = Backoff(policy.shortest_snooze, policy.shortest_snooze).delay(1, rand)
    return max(policy.backoff.delay(budget.snoozes + 1, rand), shortest)


def _fits(budget: Budget, delay: float) -> bool:
    return budget.seconds_left is None or delay < budget.seconds_left


def _cut(delay: float, budget: Budget) -> float:
    """Shortens a wait without `Retry-After`, so that the job gets another try before its deadline."""
    if budget.seconds_left is None or budget.seconds_left < _SHORTEST_CUT:
        return delay
    return min(delay, budget.seconds_left / 2)


def _asked(failure: Failure, policy: RetryPolicy) -> float:
    return min(failure.retry_after or 0.0, policy.max_retry_after)


def _given_up(failure: Failure, waited: float) -> Failure:
    responses = f"the provider returned {failure.http_status}" if failure.http_status else "the job could not run"
    message = f"Given up: {responses} for {_in_words(waited)}. The last reason: {failure.message}"
    return Failure(
        failure.error_class, "waited_too_long", message, http_status=failure.http_status, billed=failure.billed
    )


def _in_words(seconds: float) -> str:
    for unit, length in (("h", _HOUR), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
