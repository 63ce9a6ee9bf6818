"""What the jobs of a few tenants should look like, in plain Python: the state machine's model.

Written from the design (states, edges, the two counters, the attempt before each call), not from the SQL. Each method
is one use case: it changes the model and answers what the real one must answer. Time is a flag that a test sets: a
job is due or not, a lease alive or lapsed, a deadline ahead or passed.
"""

from dataclasses import dataclass, field
from uuid import UUID

from core.domain.job_state import TERMINAL, JobState
from core.domain.transitions import AttemptOutcome, Transition
from tests.support.view import AttemptView, DeliveryView, JobView

_LATE = {"unknown", "cancelled", "expired"}
_MAX_LOSSES = 2
_MAX_BYSTANDER_LOSSES = 10
# Of runs that were snoozed and cost nothing, those among the last so many are kept.
_KEPT_RUNS = 20


@dataclass
class Attempt:
    run_no: int
    attempt: int
    outcome: str = "running"
    called: bool = False
    billed: str = "no"
    error_code: str | None = None
    usage: bool = False

    def call(self) -> None:
        self.called, self.billed = True, "maybe"

    def end(self, transition: Transition) -> None:
        assert transition.attempt_outcome is not None
        self.outcome = transition.attempt_outcome.value
        self.error_code = transition.failure.code if transition.failure else None
        self.usage = transition.result is not None
        billed = transition.failure.billed if transition.failure else "yes"
        self.billed = billed if self.called else "no"

    def is_forgotten(self, run_no: int) -> bool:
        return (self.outcome, self.billed) == ("snoozed", "no") and self.run_no <= run_no - _KEPT_RUNS


@dataclass
class Delivery:
    event_type: str
    sequence: int
    state: str = "pending"
    attempts: int = 0
    leased_for: int | None = None
    """The attempt whose sender holds it."""
    lease_alive: bool = False

    @property
    def is_free(self) -> bool:
        return self.state == "pending" and (self.leased_for is None or not self.lease_alive)


@dataclass
class Job:
    id: UUID
    tenant_id: UUID
    max_attempts: int
    events: frozenset[str]
    due: bool
    has_deadline: bool
    deadline_passed: bool = False
    state: JobState = JobState.QUEUED
    version: int = 1
    run_no: int = 0
    attempts_used: int = 0
    worker_losses: int = 0
    lease_alive: bool = False
    error_code: str | None = None
    result_run: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    # What a worker does

    def claim(self) -> str:
        """`claimed`, `not_due` or `refused`."""
        if self.state is not JobState.QUEUED or (self.due and self.deadline_passed):
            return "refused"
        if not self.due:
            return "not_due"
        self.state, self.lease_alive = JobState.RUNNING, True
        self.version += 1
        self.run_no += 1
        self.attempts_used += 1
        self.attempts.append(Attempt(self.run_no, self.attempts_used))
        return "claimed"

    def call(self, run_no: int) -> bool:
        attempt = self._attempt(run_no)
        if attempt is None or attempt.outcome != "running":
            return False
        attempt.call()
        return True

    def is_known(self, run_no: int) -> bool:
        """Whether the worker that claimed this run still has it: no worker comes back from the dead."""
        return self.is_held_by(run_no) and self.lease_alive

    def finish(self, run_no: int, transition: Transition) -> bool:
        """Whether the end of this run counts. What a late answer cost is kept, and nothing else of it."""
        if self.is_held_by(run_no):
            self._apply(transition)
            return True
        attempt = self._attempt(run_no)
        if transition.result is not None and attempt is not None and attempt.outcome in _LATE and not attempt.usage:
            attempt.usage, attempt.billed = True, "yes"
        return False

    def is_held_by(self, run_no: int) -> bool:
        return self.state is JobState.RUNNING and self.run_no == run_no

    # What happens from the side

    def cancel(self, transition: Transition) -> bool:
        return self._apply(transition) if self.state not in TERMINAL else False

    def expire(self, transition: Transition) -> bool:
        return self._apply(transition) if self.state not in TERMINAL and self.deadline_passed else False

    def retry(self, transition: Transition) -> bool:
        if self.state not in TERMINAL - {JobState.SUCCEEDED}:
            return False
        self.has_deadline = self.deadline_passed = False
        return self._apply(transition)

    def is_lost(self) -> bool:
        return self.state is JobState.RUNNING and not self.lease_alive

    def loss(self) -> tuple[bool, bool]:
        """Of a lost job: whether its call is held against it, and whether it ends with this loss."""
        uncalled = sum(each.outcome == AttemptOutcome.UNKNOWN and not each.called for each in self.attempts)
        blamed = self.attempts[-1].called or uncalled >= _MAX_BYSTANDER_LOSSES
        ends = blamed and (self.worker_losses + 1 >= _MAX_LOSSES or self.attempts_used >= self.max_attempts)
        return blamed, ends

    def rescue(self, transition: Transition) -> None:
        self._apply(transition)

    def _apply(self, transition: Transition) -> bool:
        was_running = self.state is JobState.RUNNING
        self.state, self.lease_alive = transition.to_state, False
        self.version += 1
        self.attempts_used = 0 if transition.resets_attempts else self.attempts_used + transition.attempts_delta
        self.worker_losses = 0 if transition.resets_attempts else self.worker_losses + transition.loses_worker
        if transition.delay is not None:
            self.due = transition.delay == 0
        if was_running:
            self.attempts[-1].end(transition)
        if transition.attempt_outcome is AttemptOutcome.SNOOZED:
            self.attempts = [each for each in self.attempts if not each.is_forgotten(self.run_no)]
        ended = transition.to_state in TERMINAL
        self.error_code = transition.failure.code if ended and transition.failure else None
        if transition.result is not None:
            self.result_run = self.run_no
        event = f"job.{transition.to_state}"
        if ended and event in self.events:
            self.deliveries.append(Delivery(event, self.version))
        return True

    def _attempt(self, run_no: int) -> Attempt | None:
        return next((each for each in self.attempts if each.run_no == run_no), None)

    def view(self) -> JobView:
        return JobView(
            state=self.state,
            version=self.version,
            run_no=self.run_no,
            attempts_used=self.attempts_used,
            max_attempts=self.max_attempts,
            worker_losses=self.worker_losses,
            leased=self.state is JobState.RUNNING,
            finished=self.state in TERMINAL,
            recipients=int(self.state in TERMINAL and f"job.{self.state}" in self.events),
            error_code=self.error_code,
            result_run=self.result_run,
            attempts=tuple(
                AttemptView(
                    each.run_no,
                    each.attempt,
                    each.outcome,
                    each.called,
                    each.billed,
                    each.error_code,
                    each.usage,
                    each.outcome != "running",
                )
                for each in self.attempts
            ),
            deliveries=tuple(
                DeliveryView(each.event_type, each.sequence, each.state, each.attempts) for each in self.deliveries
            ),
        )


@dataclass
class HeldKey:
    """An idempotency key."""

    fingerprint: bytes
    job_id: UUID
    lapsed: bool = False


@dataclass
class Model:
    """Every job of a run of the machine."""

    jobs: dict[UUID, Job] = field(default_factory=dict)
    deleted: set[UUID] = field(default_factory=set)
    outliving: dict[UUID, list[Delivery]] = field(default_factory=dict)
    """What was still to be sent of deleted jobs."""
    keys: dict[tuple[UUID, str], HeldKey] = field(default_factory=dict)

    def delete(self, job_id: UUID) -> None:
        self.outliving[job_id] = [each for each in self.jobs.pop(job_id).deliveries if each.state == "pending"]
        self.deleted.add(job_id)

    def view(self) -> dict[UUID, JobView]:
        return {job_id: job.view() for job_id, job in self.jobs.items()}
