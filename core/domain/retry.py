"""When to try again: pure arithmetic over a fault, the budget, the deadline and one random number.

Called by core/jobs/submit.py (which limits a job gets) and core/jobs/execute.py (which edge a fault takes). A wait is
never slept in a worker: it becomes the row's `run_at`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from core.domain.transitions import Failure, Transition, fail, retry_later, snooze

_HOUR: Final = 3600.0
# Below it a wait of our own choosing is not cut any shorter to fit the deadline.
_SHORTEST_CUT: Final = 1.0


class Disposition(StrEnum):
    """What a class of faults asks for; core/providers/faults.py is the only one to say it.

    `snooze` and `wait_out` cost no attempt. A snooze is longer each time; what is waited out is over within a minute or
    so as a rule, and is asked for again within seconds.
    """

    RETRY = "retry"
    SNOOZE = "snooze"
    WAIT_OUT = "wait_out"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles from `base` to `cap` seconds; half of each wait is fixed and half is random.

    Full jitter spreads a little better, but its waits may all be near nothing: then no number of attempts is sure to
    outlast a restart. https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("equal jitter")
    """

    base: float
    cap: float

    def delay(self, number: int, rand: float) -> float:
        """The wait in seconds after attempt or snooze `number` (from 1); `rand` is in [0, 1)."""
        # 2^64 seconds is far beyond any cap; the bound only keeps a float from overflowing.
        return (1.0 + rand) / 2.0 * min(self.cap, self.base * 2.0 ** min(number - 1, 64))


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How often and how far apart a job is tried. None: the next wider level says, of job, provider and settings."""

    max_attempts: int | None = None
    initial_seconds: float | None = None
    max_seconds: float | None = None

    def within(self, wider: "RetryLimits") -> "RetryLimits":
        """These, completed by the wider ones. A longest wait that is not this level's own never cuts its first one."""
        initial = wider.initial_seconds if self.initial_seconds is None else self.initial_seconds
        longest = wider.max_seconds if self.max_seconds is None else self.max_seconds
        if initial is not None and longest is not None and initial > longest:
            initial, longest = (initial, initial) if self.max_seconds is None else (longest, longest)
        attempts = wider.max_attempts if self.max_attempts is None else self.max_attempts
        return RetryLimits(attempts, initial, longest)


NO_LIMITS: Final = RetryLimits()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`backoff` spaces attempts, and snoozes; `patience` is how long a job may be snoozed in a row.

    Snoozes cost no attempt, so a job's own waits are no bound for them: half of `shortest_snooze` passes at least.
    """

    backoff: Backoff
    patience: float
    shortest_snooze: float = 0.0
    outage_cap: float = 5.0
    max_retry_after: float = _HOUR


@dataclass(frozen=True, slots=True)
class Budget:
    """What a running job has left. `attempts_used` counts the attempt that just ended; no deadline is None.

    `snoozes` counts the snoozes in a row before this run, and `waited` the seconds since the first of them.
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
    """The edge that a failed attempt takes. `hold` is how long an outage is waited out, where somebody knows better.

    A `Retry-After` is a minimum: jitter goes on top of it, so that a herd does not come back at one instant.
    A wait that would end behind the deadline is not taken: the job fails at once and says so.
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
    """The wait of a snooze for which nobody asked. A caller who wants none would call the provider in a loop."""
    shortest = Backoff(policy.shortest_snooze, policy.shortest_snooze).delay(1, rand)
    return max(policy.backoff.delay(budget.snoozes + 1, rand), shortest)


def _fits(budget: Budget, delay: float) -> bool:
    return budget.seconds_left is None or delay < budget.seconds_left


def _cut(delay: float, budget: Budget) -> float:
    """A wait that nobody asked for leaves the job a second chance before its deadline."""
    if budget.seconds_left is None or budget.seconds_left < _SHORTEST_CUT:
        return delay
    return min(delay, budget.seconds_left / 2)


def _asked(failure: Failure, policy: RetryPolicy) -> float:
    return min(failure.retry_after or 0.0, policy.max_retry_after)


def _given_up(failure: Failure, waited: float) -> Failure:
    answered = f"the provider answered {failure.http_status}" if failure.http_status else "no run of it was possible"
    message = f"Given up: {answered} for {_spoken(waited)}. The last reason: {failure.message}"
    return Failure(
        failure.error_class, "waited_too_long", message, http_status=failure.http_status, billed=failure.billed
    )


def _spoken(seconds: float) -> str:
    for unit, length in (("h", _HOUR), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
