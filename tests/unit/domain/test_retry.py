"""The bounds of every wait, for any fault, budget, deadline and random number."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.domain.job_state import Edge
from core.domain.retry import DEFAULT_POLICY, Backoff, Budget, Disposition, RetryPolicy, decide
from core.domain.transitions import Failure

SECONDS = st.floats(0, 1e6, allow_nan=False)
RAND = st.floats(0, 1, exclude_max=True)
BACKOFFS = st.builds(Backoff, base=st.floats(0.001, 1e3), cap=st.floats(0.001, 1e5))
POLICIES = st.builds(RetryPolicy, retry=BACKOFFS, throttle=BACKOFFS, max_retry_after=SECONDS)
FAILURES = st.builds(
    Failure, st.just("unavailable"), st.just("code"), st.just("message"), retry_after=st.none() | SECONDS
)
BUDGETS = st.builds(
    Budget,
    attempts_used=st.integers(1, 50),
    max_attempts=st.integers(1, 50),
    run_no=st.integers(1, 10_000),
    seconds_left=st.none() | SECONDS,
)


@given(backoff=BACKOFFS, attempt=st.integers(1, 1_000_000), rand=RAND)
def test_full_jitter_stays_between_nothing_and_the_cap(backoff: Backoff, attempt: int, rand: float) -> None:
    delay = backoff.delay(attempt, rand)

    assert 0 <= delay <= backoff.cap
    assert delay <= backoff.base * 2.0 ** min(attempt - 1, 64)


@given(backoff=BACKOFFS, attempt=st.integers(1, 1_000), rand=RAND)
def test_the_ceiling_never_falls(backoff: Backoff, attempt: int, rand: float) -> None:
    assert backoff.delay(attempt, rand) <= backoff.delay(attempt + 1, rand)


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 16.0), (7, 30.0), (50, 30.0)]
)
def test_the_default_doubles_from_half_a_second_to_thirty(attempt: int, ceiling: float) -> None:
    assert DEFAULT_POLICY.retry.delay(attempt, 0.5) == ceiling / 2
    assert DEFAULT_POLICY.retry.delay(attempt, 0.0) == 0.0


@given(failure=FAILURES, budget=BUDGETS, policy=POLICIES, rand=RAND)
def test_what_is_fatal_fails_at_once(failure: Failure, budget: Budget, policy: RetryPolicy, rand: float) -> None:
    decided = decide(failure, Disposition.GIVE_UP, budget, policy, rand)

    assert decided.edge is Edge.FAIL
    assert decided.failure is failure


@given(failure=FAILURES, budget=BUDGETS, policy=POLICIES, rand=RAND)
def test_a_retry_needs_an_attempt_that_is_left(
    failure: Failure, budget: Budget, policy: RetryPolicy, rand: float
) -> None:
    decided = decide(failure, Disposition.RETRY, budget, policy, rand)

    assert decided.failure is failure
    if budget.attempts_used >= budget.max_attempts:
        assert decided.edge is Edge.FAIL
    elif budget.seconds_left is None:
        assert decided.edge is Edge.RETRY_LATER
        assert decided.attempts_delta == 0


@given(failure=FAILURES, budget=BUDGETS, policy=POLICIES, rand=RAND)
def test_a_snooze_costs_no_attempt_however_many_there_were(
    failure: Failure, budget: Budget, policy: RetryPolicy, rand: float
) -> None:
    assume(budget.seconds_left is None)

    decided = decide(failure, Disposition.SNOOZE, budget, policy, rand)

    assert decided.edge is Edge.SNOOZE
    assert decided.attempts_delta == -1


@given(
    failure=FAILURES,
    budget=BUDGETS,
    policy=POLICIES,
    rand=RAND,
    disposition=st.sampled_from([Disposition.RETRY, Disposition.SNOOZE]),
)
def test_a_wait_is_at_least_what_the_provider_asked_and_at_most_that_and_the_jitter(
    failure: Failure, budget: Budget, policy: RetryPolicy, rand: float, disposition: Disposition
) -> None:
    decided = decide(failure, disposition, budget, policy, rand)
    backoff = policy.retry if disposition is Disposition.RETRY else policy.throttle
    asked = min(failure.retry_after or 0.0, policy.max_retry_after)

    if decided.delay is None:
        assert decided.edge is Edge.FAIL
    else:
        assert asked <= decided.delay <= asked + backoff.cap


@given(
    failure=FAILURES,
    budget=BUDGETS,
    policy=POLICIES,
    rand=RAND,
    disposition=st.sampled_from([Disposition.RETRY, Disposition.SNOOZE]),
)
def test_no_wait_ends_behind_the_deadline(
    failure: Failure, budget: Budget, policy: RetryPolicy, rand: float, disposition: Disposition
) -> None:
    assume(budget.seconds_left is not None)
    assert budget.seconds_left is not None

    decided = decide(failure, disposition, budget, policy, rand)

    if decided.delay is None:
        assert decided.edge is Edge.FAIL
    else:
        assert decided.delay < budget.seconds_left


@pytest.mark.parametrize("disposition", [Disposition.RETRY, Disposition.SNOOZE])
@pytest.mark.parametrize(("seconds_left", "edge_is_fail"), [(10.0, True), (10.1, False), (None, False)])
def test_a_wait_must_end_before_the_deadline_not_on_it(
    disposition: Disposition, seconds_left: float | None, edge_is_fail: bool
) -> None:
    failure = Failure("rate_limited", "rate_limited", "message", retry_after=10.0)
    budget = Budget(attempts_used=1, max_attempts=5, run_no=1, seconds_left=seconds_left)

    decided = decide(failure, disposition, budget, DEFAULT_POLICY, 0.0)

    assert (decided.edge is Edge.FAIL) is edge_is_fail


def test_a_snooze_backs_off_by_runs_because_its_attempts_are_refunded() -> None:
    budget = Budget(attempts_used=1, max_attempts=5, run_no=4, seconds_left=None)

    decided = decide(Failure("rate_limited", "code", "message"), Disposition.SNOOZE, budget, DEFAULT_POLICY, 0.5)

    assert decided.delay == DEFAULT_POLICY.throttle.delay(4, 0.5) == 4.0
