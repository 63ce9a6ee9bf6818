"""The invariants I1 to I8 that inferd promises, over what PostgreSQL holds before and after any one step.

They know nothing of the model and nothing of how a step works. I2 (progress) and I6 (Redis is only a hint) are about
sequences: the state machine checks them by driving every job to its end, and by damaging Redis between steps.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from uuid import UUID

from core.domain.job_state import TERMINAL, JobState
from tests.proofs.view import JobView, View

_OPEN = "running"
# Of runs that were snoozed and cost nothing, those among the last so many are kept.
_KEPT_RUNS = 20


def check(before: View, after: View, *, accepted: Collection[UUID], cancelled: Mapping[UUID, int]) -> None:
    """`accepted` are the ids that callers were given; `cancelled` maps those who were told so to the job's version."""
    accepted_is_durable(after, accepted)
    for job_id, job in after.jobs.items():
        if (old := before.jobs.get(job_id)) is not None:
            one_terminal_transition(old, job)
            fence_never_goes_back(old, job)
        only_the_last_run_counts(job)
        calls_are_bounded_and_written_down(job)
        each_end_is_announced_once(job)
    events_are_distinct(after)
    cancel_is_final(after, cancelled)


def accepted_is_durable(after: View, accepted: Collection[UUID]) -> None:
    """I1: what was accepted is there, or was deleted and is remembered so."""
    assert set(accepted) <= set(after.jobs) | after.deleted


def one_terminal_transition(before: JobView, after: JobView) -> None:
    """I3: a job that ended stays as it ended, until its caller retries it. What a late answer cost may be noted."""
    if before.state not in TERMINAL:
        return
    if after.version == before.version:
        kept = replace(after, attempts=before.attempts, deliveries=before.deliveries)
        assert kept == before
        assert [each.outcome for each in after.attempts] == [each.outcome for each in before.attempts]
    else:
        assert before.state is not JobState.SUCCEEDED
        assert (after.state, after.version) == (JobState.QUEUED, before.version + 1)


def fence_never_goes_back(before: JobView, after: JobView) -> None:
    """I4: every run has a number of its own, for ever."""
    assert after.run_no >= before.run_no
    assert after.version >= before.version


def only_the_last_run_counts(job: JobView) -> None:
    """I4: only the newest run may be open or have its answer shown."""
    outcomes = [each.outcome for each in job.attempts]
    assert _OPEN not in outcomes[:-1]
    assert (outcomes[-1:] == [_OPEN]) == (job.state is JobState.RUNNING) == job.leased
    assert (job.result_run is not None) == (job.state is JobState.SUCCEEDED)
    if job.result_run is not None:
        assert (job.result_run, outcomes[-1]) == (job.run_no, "succeeded")


def calls_are_bounded_and_written_down(job: JobView) -> None:
    """I5: every run has its row, written before the call; and the budget holds."""
    runs = [each.run_no for each in job.attempts]
    assert runs == sorted(set(runs))
    # Only snoozed runs that cost nothing are forgotten, and never a late one.
    assert set(range(max(1, job.run_no - _KEPT_RUNS + 1), job.run_no + 1)) <= set(runs)
    assert 0 <= job.attempts_used <= job.max_attempts
    assert all(each.attempt <= job.max_attempts for each in job.attempts)
    # What was called may have been paid for; what was not can't have been.
    assert all(each.called or each.billed != "maybe" for each in job.attempts)


def each_end_is_announced_once(job: JobView) -> None:
    """I7: one row for each end, written with it, and a receiver can order them."""
    sequences = [each.sequence for each in job.deliveries]
    assert sequences == sorted(set(sequences))
    assert all(sequence <= job.version for sequence in sequences)
    if job.deliveries and job.state in TERMINAL and job.deliveries[-1].sequence == job.version:
        assert job.deliveries[-1].event_type == f"job.{job.state}"


def events_are_distinct(after: View) -> None:
    """I7: a webhook-id names one event of one job."""
    assert len(after.event_ids) == len(set(after.event_ids))


def cancel_is_final(after: View, cancelled: Mapping[UUID, int]) -> None:
    """I8: who was told `cancelled` never sees a success, unless the job was retried since."""
    for job_id, version in cancelled.items():
        job = after.jobs.get(job_id)
        assert job is None or job.version > version or job.state is JobState.CANCELLED
