"""What Hypothesis draws for a step of the state machine: which event, and what the event is left to."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from core.domain import transitions
from core.domain.retry import Backoff, Budget, Disposition, RetryPolicy, decide
from core.domain.transitions import Transition
from core.jobs.records import ClaimedJob
from tests.support.jobs import answer, failure

END = ["answer", "answer", "retry", "throttled", "fatal", "drained", "expired"]


@dataclass(frozen=True)
class Chance:
    """What one step is left to: which of the things at hand, by which worker, how it ends, and what is rare."""

    nth: int
    worker: int
    how: str
    coin: bool
    rare: bool
    rarer: bool


SELDOM = st.integers(0, 3).map(lambda number: number == 3)
CHANCE = st.builds(
    Chance,
    nth=st.integers(0, 11),
    worker=st.integers(0, 1),
    how=st.sampled_from(END),
    coin=st.booleans(),
    rare=SELDOM,
    rarer=SELDOM,
)
# One rule and these weights, not a rule for each: Hypothesis leaves out half of the rules in each run, and a job that
# can't be claimed shows nothing.
WEIGHTS = {
    "finish": 10,
    "claim": 8,
    "call": 6,
    "submit": 4,
    "caller_cancels": 3,
    "caller_retries": 4,
    "caller_deletes": 1,
    "claim_any": 3,
    "look": 3,
    "send": 3,
    "record": 3,
    "sender_is_gone": 1,
    "sweep": 6,
    "prune": 1,
    "lease_runs_out": 6,
    "deadline_passes": 2,
    "wait_is_over": 3,
    "key_runs_out": 1,
    "redis_forgets": 4,
    "redis_is_told_again": 2,
    "redis_holds_what_is_not_ours": 1,
    "waits_in_redis_are_over": 3,
    "race_cancel_with_the_end": 3,
    "race_rescue_with_the_end": 3,
    "race_rescue_with_a_look": 2,
    "race_two_claims": 3,
    "race_cancel_with_a_claim": 2,
}
EVENT = st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)])


_POLICY = RetryPolicy(Backoff(base=1.0, cap=60.0), patience=86_400.0)


def transition_of(run: ClaimedJob, how: str, *, later: bool) -> Transition:
    """The edge that execute_job would take, with a wait that is over at once or in an hour."""
    budget = Budget(run.attempts_used, run.max_attempts, run.snoozes, run.snoozed_seconds)
    match how:
        case "answer":
            return transitions.succeed(answer(f"run {run.run_no}"))
        case "expired":
            return transitions.expire()
        case "drained":
            return transitions.snooze(failure(error_class="worker_stopped", code="worker_stopped"), 0.0, counts=False)
        case "retry":
            decided = decide(failure(), Disposition.RETRY, budget, _POLICY, 0.5)
        case "throttled":
            decided = decide(failure(code="rate_limited"), Disposition.SNOOZE, budget, _POLICY, 0.5)
        case _:
            decided = decide(failure(code="bad_request"), Disposition.GIVE_UP, budget, _POLICY, 0.5)
    return decided if decided.delay is None else replace(decided, delay=3600.0 if later else 0.0)
