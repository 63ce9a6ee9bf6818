"""The states of a job and the only edges between them.

Every change of a job names an Edge. `core/domain/transitions.py` builds the change, and `core/jobs/store.py` applies it
with one guarded UPDATE. docs/reference/state-machine.md is generated from these tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Edge(StrEnum):
    CLAIM = "claim"
    SUCCEED = "succeed"
    RETRY_LATER = "retry_later"
    SNOOZE = "snooze"
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"
    RESCUE = "rescue"
    RETRY = "retry"


class Priority(StrEnum):
    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"


ACTIVE: Final = frozenset({JobState.QUEUED, JobState.RUNNING})
TERMINAL: Final = frozenset(JobState) - ACTIVE


@dataclass(frozen=True, slots=True)
class EdgeRule:
    """The states that an edge leads from and to, and when it is taken."""

    from_states: frozenset[JobState]
    to_states: frozenset[JobState]
    when: str


def _rule(from_states: set[JobState], to_states: set[JobState], when: str) -> EdgeRule:
    return EdgeRule(frozenset(from_states), frozenset(to_states), when)


_S = JobState
EDGES: Final[Mapping[Edge, EdgeRule]] = MappingProxyType(
    {
        Edge.CLAIM: _rule({_S.QUEUED}, {_S.RUNNING}, "a worker takes the job under its lease"),
        Edge.SUCCEED: _rule({_S.RUNNING}, {_S.SUCCEEDED}, "the provider returned a valid answer"),
        Edge.RETRY_LATER: _rule({_S.RUNNING}, {_S.QUEUED}, "a retryable fault, with attempts and time left"),
        Edge.SNOOZE: _rule(
            {_S.RUNNING},
            {_S.QUEUED},
            "not the job's fault: the provider throttles or is unreachable, or the worker can't run the job",
        ),
        Edge.FAIL: _rule({_S.RUNNING}, {_S.FAILED}, "a fatal fault, or no attempts left"),
        Edge.CANCEL: _rule({_S.QUEUED, _S.RUNNING}, {_S.CANCELLED}, "the caller cancels the job"),
        Edge.EXPIRE: _rule({_S.QUEUED, _S.RUNNING}, {_S.EXPIRED}, "deadline_at has passed"),
        Edge.RESCUE: _rule({_S.RUNNING}, {_S.QUEUED, _S.FAILED}, "the worker was declared dead"),
        Edge.RETRY: _rule(
            {_S.FAILED, _S.CANCELLED, _S.EXPIRED}, {_S.QUEUED}, "the caller retries the job; it keeps its id"
        ),
    }
)


@dataclass(frozen=True, slots=True)
class NextMover:
    """Who moves a job out of a state, and who takes over if they die."""

    moved_by: str
    rescued_by: str


NEXT_MOVER: Final[Mapping[JobState, NextMover]] = MappingProxyType(
    {
        _S.QUEUED: NextMover("a worker that is woken for it (claim)", "the sweep, which enqueues it again"),
        _S.RUNNING: NextMover(
            "the worker that holds its lease", "the sweep, once that worker is declared dead (rescue)"
        ),
        _S.SUCCEEDED: NextMover("nobody: the state is final", "retention deletes it"),
        _S.FAILED: NextMover("the caller, by a manual retry", "retention deletes it"),
        _S.CANCELLED: NextMover("the caller, by a manual retry", "retention deletes it"),
        _S.EXPIRED: NextMover("the caller, by a manual retry", "retention deletes it"),
    }
)


def is_allowed(edge: Edge, from_state: JobState, to_state: JobState) -> bool:
    """Whether `edge` may lead from `from_state` to `to_state`."""
    rule = EDGES[edge]
    return from_state in rule.from_states and to_state in rule.to_states
