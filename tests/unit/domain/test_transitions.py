"""What each constructor of an edge changes, and nothing else: the columns are listed here a second time on purpose."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import transitions
from core.domain.inference import InferenceResult, Usage
from core.domain.job_state import ACTIVE, EDGES, TERMINAL, Edge
from core.domain.transitions import AttemptOutcome, Failure, Transition

FAILURE = Failure("unavailable", "provider_unavailable", "The provider is out of service.", http_status=503)
ANSWER = InferenceResult(text="hi", message={"role": "assistant", "content": "hi"}, finish_reason="stop", model="echo")

Effect = tuple[Transition, str, str, str | None, int, bool, float | None]
# constructor, edge, to-state, the attempt's outcome, change of attempts_used, whether a worker is lost, delay
EFFECTS: dict[str, Effect] = {
    "succeed": (transitions.succeed(ANSWER), "succeed", "succeeded", "succeeded", 0, False, None),
    "retry later": (transitions.retry_later(FAILURE, 2.5), "retry_later", "queued", "retried", 0, False, 2.5),
    "snooze": (transitions.snooze(FAILURE, 3.5), "snooze", "queued", "snoozed", -1, False, 3.5),
    "fail": (transitions.fail(FAILURE), "fail", "failed", "failed", 0, False, None),
    "cancel": (transitions.cancel(), "cancel", "cancelled", "cancelled", 0, False, None),
    "expire": (transitions.expire(), "expire", "expired", "expired", 0, False, None),
    "rescue, first loss": (
        transitions.rescue(0, call_went_out=True, attempts_left=True), "rescue", "queued", "unknown", 0, True, 0.0,
    ),
    "rescue, second loss": (
        transitions.rescue(1, call_went_out=True, attempts_left=True), "rescue", "failed", "unknown", 0, True, None,
    ),
    "rescue, budget used": (
        transitions.rescue(0, call_went_out=True, attempts_left=False), "rescue", "failed", "unknown", 0, True, None,
    ),
    "rescue, bystander": (
        transitions.rescue(9, call_went_out=False, attempts_left=False), "rescue", "queued", "unknown", -1, False, 0.0,
    ),
    "retry": (transitions.retry(), "retry", "queued", None, 0, False, 0.0),
}  # fmt: skip
each_effect = pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS.keys())


@each_effect
def test_an_edge_changes_what_it_says(effect: Effect) -> None:
    made, edge, to_state, outcome, attempts_delta, loses_worker, delay = effect

    assert (made.edge, made.to_state, made.attempt_outcome) == (edge, to_state, outcome)
    assert (made.attempts_delta, made.loses_worker, made.delay) == (attempts_delta, loses_worker, delay)
    assert made.resets_attempts is (edge == "retry")
    assert (made.result is not None) is (edge == "succeed")


@each_effect
def test_a_constructor_stays_on_its_edge(effect: Effect) -> None:
    made = effect[0]

    assert made.to_state in EDGES[made.edge].to_states
    assert made.from_states == EDGES[made.edge].from_states


def test_every_edge_but_the_claim_has_a_constructor() -> None:
    assert {made.edge for made, *_ in EFFECTS.values()} == set(Edge) - {Edge.CLAIM}


@each_effect
def test_what_ends_without_an_answer_says_why(effect: Effect) -> None:
    made = effect[0]

    if made.to_state in TERMINAL and made.result is None:
        assert made.failure is not None
        assert made.failure.code
        assert made.failure.message.endswith(".")


@pytest.mark.parametrize(
    ("made", "error_class", "code"),
    [
        (transitions.cancel(), "cancelled", "cancelled"),
        (transitions.expire(), "deadline", "deadline_exceeded"),
        (transitions.rescue(0, call_went_out=True, attempts_left=True), "worker_lost", "worker_lost"),
        (transitions.rescue(0, call_went_out=False, attempts_left=True), "worker_lost", "worker_lost"),
    ],
)
def test_the_codes_of_our_own_failures_are_stable(made: Transition, error_class: str, code: str) -> None:
    assert made.failure is not None
    assert (made.failure.error_class, made.failure.code) == (error_class, code)


@given(losses=st.integers(0, 10), called=st.booleans(), left=st.booleans())
def test_a_rescue_never_blames_a_bystander_and_never_loops(losses: int, called: bool, left: bool) -> None:
    made = transitions.rescue(losses, call_went_out=called, attempts_left=left)
    assert made.failure is not None

    if not called:
        assert made.to_state in ACTIVE
        assert (made.attempts_delta, made.loses_worker, made.failure.billed) == (-1, False, "no")
    else:
        # At most two losses, and never a run beyond the budget.
        assert (made.to_state in ACTIVE) is (losses == 0 and left)
        assert (made.attempts_delta, made.loses_worker, made.failure.billed) == (0, True, "maybe")


def test_an_attempt_ends_in_one_of_the_documented_ways() -> None:
    assert set(AttemptOutcome) == {
        "running", "succeeded", "retried", "snoozed", "failed", "cancelled", "expired", "unknown",
    }  # fmt: skip


def test_usage_says_nothing_until_the_provider_did() -> None:
    assert set(asdict(Usage()).values()) == {None}
    assert ANSWER.usage == Usage()
