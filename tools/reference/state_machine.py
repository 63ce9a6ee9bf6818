"""Generates docs/reference/state-machine.md from core/domain/job_state.py."""

from collections.abc import Iterable, Iterator
from typing import Final

from core.domain.job_state import EDGES, NEXT_MOVER, TERMINAL, JobState
from core.domain.transitions import MAX_WORKER_LOSSES
from tools.reference.page import Page, code, fenced, markdown, table

_INTRODUCTION: Final = """
# The states of a job

A job changes only along these edges. Each is one guarded statement: it names the states that the job may be in and, for
the edges of a run, the run's number and token. If the job has moved on, the statement changes nothing.
"""
_NOTES: Final = f"""
`attempts_used` counts against `max_attempts`: a claim adds one, a snooze and the rescue of a job whose call was not
sent give it back, and a manual retry sets it to zero. `run_no` never decreases; it distinguishes the current run from a
late result of an earlier one. After {MAX_WORKER_LOSSES} lost workers a job fails instead of being queued again.
"""


def pages() -> Iterator[Page]:
    yield markdown("state-machine.md", "core/domain/job_state.py", _blocks())


def _blocks() -> Iterator[str]:
    yield _INTRODUCTION
    yield fenced("\n".join(_diagram()), "mermaid")
    yield "## Edges"
    yield table(
        ("Edge", "From", "To", "When"),
        [
            (code(edge.value), _listed(rule.from_states), _listed(rule.to_states), rule.when)
            for edge, rule in EDGES.items()
        ],
    )
    yield _NOTES
    yield "## Who moves a job on"
    yield table(
        ("State", "Moved by", "If they die"),
        [(code(state.value), mover.moved_by, mover.rescued_by) for state, mover in NEXT_MOVER.items()],
    )


def _diagram() -> Iterator[str]:
    yield "stateDiagram-v2"
    yield "    [*] --> queued: submit"
    for edge, rule in EDGES.items():
        for start in _ordered(rule.from_states):
            for end in _ordered(rule.to_states):
                yield f"    {start} --> {end}: {edge.value}"
    yield from (f"    {state} --> [*]" for state in JobState if state in TERMINAL)


def _ordered(states: Iterable[JobState]) -> list[str]:
    wanted = set(states)
    return [state.value for state in JobState if state in wanted]


def _listed(states: Iterable[JobState]) -> str:
    return ", ".join(code(state) for state in _ordered(states))
