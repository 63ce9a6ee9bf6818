"""Every pair of edge and state, from a table that is written here a second time on purpose."""

from itertools import product

import pytest

from core.domain.job_state import ACTIVE, EDGES, NEXT_MOVER, TERMINAL, Edge, JobState, Priority, is_allowed

# edge → from-state → where it may lead; a pair that is not here is forbidden.
LEGAL: dict[str, dict[str, set[str]]] = {
    "claim": {"queued": {"running"}},
    "succeed": {"running": {"succeeded"}},
    "retry_later": {"running": {"queued"}},
    "snooze": {"running": {"queued"}},
    "fail": {"running": {"failed"}},
    "cancel": {"queued": {"cancelled"}, "running": {"cancelled"}},
    "expire": {"queued": {"expired"}, "running": {"expired"}},
    "rescue": {"running": {"queued", "failed"}},
    "retry": {"failed": {"queued"}, "cancelled": {"queued"}, "expired": {"queued"}},
}


def test_the_words_are_the_documented_ones() -> None:
    assert set(JobState) == {"queued", "running", "succeeded", "failed", "cancelled", "expired"}
    assert set(Edge) == set(LEGAL)
    assert list(Priority) == ["interactive", "standard", "batch"]


@pytest.mark.parametrize(("edge", "state"), list(product(Edge, JobState)), ids=lambda each: each.value)
def test_an_edge_leads_only_where_the_table_says(edge: Edge, state: JobState) -> None:
    leads_to = {target.value for target in JobState if is_allowed(edge, state, target)}

    assert leads_to == LEGAL[edge.value].get(state.value, set())


def test_a_state_is_either_active_or_final() -> None:
    assert {"queued", "running"} == ACTIVE
    assert {"succeeded", "failed", "cancelled", "expired"} == TERMINAL


def test_only_an_answer_is_final_for_good() -> None:
    left_by = {state: {edge for edge in Edge if LEGAL[edge.value].get(state.value)} for state in JobState}

    assert [state for state, edges in left_by.items() if not edges] == [JobState.SUCCEEDED]


@pytest.mark.parametrize("state", JobState, ids=lambda state: state.value)
def test_every_state_says_who_moves_it_and_who_rescues_it(state: JobState) -> None:
    mover = NEXT_MOVER[state]

    assert mover.moved_by
    assert mover.rescued_by
    assert ("sweep" in mover.rescued_by) == (state in ACTIVE)


def test_every_edge_says_when() -> None:
    assert all(rule.when for rule in EDGES.values())
