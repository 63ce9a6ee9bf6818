"""The bounds of every wait, for any fault, budget, deadline and random number."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.domain.job_state import Edge
from core.domain.retry import NO_LIMITS, Backoff, Budget, Disposition, RetryLimits, RetryPolicy, decide
from core.domain.transitions import Failure

SECONDS = st.floats(0, 1e6, allow_nan=False)
RAND = st.floats(0, 1, exclude_max=True)
BACKOFFS = st.builds(Backoff, base=st.floats(0.001, 1e3), cap=st.floats(0.001, 1e5))
POLICY = RetryPolicy(Backoff(base=1.0, cap=120.0), patience=86_400.0)
POLICIES = st.builds(
    RetryPolicy, BACKOFFS, patience=st.floats(1.0, 1e6), outage_cap=st.floats(0.1, 60), max_retry_after=SECONDS
)
FAILURES = st.builds(
    Failure, st.just("unavailable"), st.just("code"), st.just("message"), retry_after=st.none() | SECONDS
)
BUDGETS = st.builds(
    Budget,
    attempts_used=st.integers(1, 50),
    max_attempts=st.integers(1, 50),
    snoozes=st.integers(0, 10_000),
    waited=st.just(0.0),
    seconds_left=st.none() | SECONDS,
)


@given(backoff=BACKOFFS, number=st.integers(1, 1_000_000), rand=RAND)
def test_half_of_a_wait_is_fixed_and_half_is_random(backoff: Backoff, number: int, rand: float) -> None:
    ceiling = min(backoff.cap, backoff.base * 2.0 ** min(number - 1, 64))

    assert ceiling / 2 <= backoff.delay(number, rand) <= ceiling


@given(backoff=BACKOFFS, number=st.integers(1, 1_000), rand=RAND)
def test_the_ceiling_never_falls(backoff: Backoff, number: int, rand: float) -> None:
    assert backoff.delay(number, rand) <= backoff.delay(number + 1, rand)


@pytest.mark.parametrize(("number", "ceiling"), [(1, 1.0), (2, 2.0), (7, 64.0), (8, 120.0), (50, 120.0)])
def test_waits_double_up_to_the_cap(number: int, ceiling: float) -> None:
    assert POLICY.backoff.delay(number, 0.0) == ceiling / 2
    assert POLICY.backoff.delay(number, 0.5) == ceiling * 0.75


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


WAITING = [Disposition.RETRY, Disposition.SNOOZE, Disposition.WAIT_OUT]


@given(failure=FAILURES, budget=BUDGETS, policy=POLICIES, rand=RAND, disposition=st.sampled_from(WAITING))
def test_a_wait_is_at_least_what_the_provider_asked_and_at_most_that_and_the_jitter(
    failure: Failure, budget: Budget, policy: RetryPolicy, rand: float, disposition: Disposition
) -> None:
    decided = decide(failure, disposition, budget, policy, rand)
    asked = min(failure.retry_after or 0.0, policy.max_retry_after)

    if decided.delay is None:
        assert decided.edge is Edge.FAIL
    else:
        assert asked <= decided.delay <= asked + policy.backoff.cap
        assert disposition is not Disposition.WAIT_OUT or decided.delay <= asked + policy.outage_cap


@given(failure=FAILURES, budget=BUDGETS, policy=POLICIES, rand=RAND, disposition=st.sampled_from(WAITING))
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


@pytest.mark.parametrize("disposition", WAITING)
@pytest.mark.parametrize(("seconds_left", "edge_is_fail"), [(10.0, True), (30.0, False), (None, False)])
def test_a_wait_must_end_before_the_deadline_not_on_it(
    disposition: Disposition, seconds_left: float | None, edge_is_fail: bool
) -> None:
    failure = Failure("rate_limited", "rate_limited", "message", retry_after=10.0)
    budget = Budget(attempts_used=1, max_attempts=5, seconds_left=seconds_left)

    decided = decide(failure, disposition, budget, POLICY, 0.0)

    assert (decided.edge is Edge.FAIL) is edge_is_fail


FAILURE = Failure("throttled", "rate_limited", "The provider's rate limit is reached.", http_status=429)


def test_a_snooze_backs_off_by_the_snoozes_before_it() -> None:
    budget = Budget(attempts_used=1, max_attempts=5, snoozes=3)

    decided = decide(FAILURE, Disposition.SNOOZE, budget, POLICY, 0.5)

    assert decided.delay == POLICY.backoff.delay(4, 0.5) == 6.0
    assert decided.counts_snooze


@pytest.mark.parametrize(
    ("snoozes", "hold", "left", "delay"),
    [
        (0, None, None, 0.75),
        (9, None, None, 5.0),
        (9, 17.0, None, 17.0),
        (9, 17.0, 60.0, 17.0),
        # A wait of our own choosing leaves the job a second chance.
        (9, 17.0, 10.0, 5.0),
        (9, 17.0, 0.9, None),
    ],
)
def test_an_outage_is_waited_out_within_seconds_or_as_long_as_the_breaker_says(
    snoozes: int, hold: float | None, left: float | None, delay: float | None
) -> None:
    budget = Budget(attempts_used=5, max_attempts=5, snoozes=snoozes, seconds_left=left)

    decided = decide(FAILURE, Disposition.WAIT_OUT, budget, POLICY, 0.5, hold=hold)

    assert decided.delay == delay
    assert decided.edge is (Edge.FAIL if delay is None else Edge.SNOOZE)


@pytest.mark.parametrize("disposition", [Disposition.SNOOZE, Disposition.WAIT_OUT])
def test_patience_ends(disposition: Disposition) -> None:
    before = Budget(attempts_used=1, max_attempts=5, snoozes=900, waited=86_399.9)
    after = Budget(attempts_used=1, max_attempts=5, snoozes=900, waited=86_400.0)

    assert decide(FAILURE, disposition, before, POLICY, 0.5).edge is Edge.SNOOZE
    ended = decide(FAILURE, disposition, after, POLICY, 0.5)
    assert ended.edge is Edge.FAIL
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.error_class) == ("waited_too_long", "throttled")
    assert ended.failure.message == (
        "Given up: the provider returned 429 for 24 h. The last reason: The provider's rate limit is reached."
    )


@pytest.mark.parametrize(("waited", "words"), [(30.4, "30.4 s"), (90.0, "1.5 min"), (5400.0, "1.5 h")])
def test_what_was_waited_for_is_said(waited: float, words: str) -> None:
    policy = RetryPolicy(POLICY.backoff, patience=10.0)
    budget = Budget(attempts_used=1, max_attempts=5, snoozes=9, waited=waited)

    ended = decide(Failure("unreachable", "provider_unreachable", "No."), Disposition.WAIT_OUT, budget, policy, 0.5)

    assert ended.failure is not None
    assert ended.failure.message == f"Given up: the job could not run for {words}. The last reason: No."


@pytest.mark.parametrize(
    ("own", "wider", "expected"),
    [
        (NO_LIMITS, RetryLimits(8, 1.0, 120.0), RetryLimits(8, 1.0, 120.0)),
        (RetryLimits(3), RetryLimits(8, 1.0, 120.0), RetryLimits(3, 1.0, 120.0)),
        (RetryLimits(None, 2.0, 9.0), RetryLimits(8, 1.0, 120.0), RetryLimits(8, 2.0, 9.0)),
        (RetryLimits(None, 600.0), RetryLimits(8, 1.0, 120.0), RetryLimits(8, 600.0, 600.0)),
        (RetryLimits(None, None, 0.5), RetryLimits(8, 1.0, 120.0), RetryLimits(8, 0.5, 0.5)),
        (RetryLimits(None, None, 0.5), NO_LIMITS, RetryLimits(None, None, 0.5)),
    ],
)
def test_the_narrower_level_wins_and_its_waits_make_sense(
    own: RetryLimits, wider: RetryLimits, expected: RetryLimits
) -> None:
    assert own.within(wider) == expected
