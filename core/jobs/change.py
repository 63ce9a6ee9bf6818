"""Changes jobs whose rows are locked, and publishes the changes: what cancel, retry and the sweep have in common.

They call `apply_to` inside their transaction, `publish` after its commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.db.session import Connection
from core.domain.ids import JobId
from core.domain.job_state import TERMINAL, Edge, JobState
from core.domain.run_again import AT_FRONT, After
from core.domain.transitions import Transition
from core.jobs import store
from core.jobs.context import JobContext
from core.jobs.records import Applied, Change, HeldJob
from core.observability.metrics import FINISHED, count
from core.queue.enqueue import delivery_entry, job_entry
from core.queue.keys import lane_of


@dataclass(frozen=True, slots=True)
class Changed:
    """A job that was changed, as it was before."""

    job: HeldJob
    transition: Transition
    applied: Applied


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """The states, before the change, of those jobs that are the caller's; and which of them were changed."""

    states: Mapping[JobId, JobState]
    changed: frozenset[JobId]


async def apply_to(connection: Connection, wanted: Sequence[tuple[HeldJob, Transition]]) -> list[Changed]:
    """Applies each transition to its locked job, with the webhook rows of those that end."""
    applied = await store.apply(connection, [_change(job, transition) for job, transition in wanted])
    return [
        Changed(job, transition, done)
        for (job, transition), done in zip(wanted, applied, strict=True)
        # Its row was locked by this very transaction, so nobody else can have it.
        if isinstance(done, Applied)
    ]


def outcome_of(held: Mapping[JobId, HeldJob], changes: Sequence[Changed]) -> ChangeOutcome:
    """What a caller learns of its change."""
    return ChangeOutcome(
        {job_id: job.state for job_id, job in held.items()}, frozenset(changed.job.id for changed in changes)
    )


def publish(context: JobContext, changes: Sequence[Changed]) -> None:
    """After the commit: enqueues deliveries and requeued jobs, publishes changes, closes calls that run for nothing."""
    for changed in changes:
        job, transition = changed.job, changed.transition
        context.enqueuer.enqueue(*(delivery_entry(each, job.tenant_id) for each in changed.applied.delivery_ids))
        if job.state == JobState.RUNNING:
            context.enqueuer.publish_cancel(job.id)
        else:
            context.enqueuer.publish_change(job.id)
        if transition.to_state == JobState.QUEUED:
            when = AT_FRONT if transition.edge is Edge.RESCUE else After(transition.delay or 0.0)
            context.enqueuer.enqueue(job_entry(job.id, lane_of(job.priority), when, tenant_id=job.tenant_id))
        elif transition.to_state in TERMINAL:
            count(FINISHED, job.model.partition("/")[0], transition.to_state.value)


def _change(job: HeldJob, transition: Transition) -> Change:
    return Change(job.id, job.tenant_id, transition, run_no=job.run_no)
