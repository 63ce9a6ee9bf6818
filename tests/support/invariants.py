"""The invariants I1 to I8 that inferd promises, written once: over what PostgreSQL and Redis hold.

`ALWAYS` holds of every job at any moment, `AT_REST` besides when nothing waits and nothing runs and no job was retried
by hand. `check_step` is about what one step may change. The proofs check each step (tests/proofs/job_machine.py), chaos
the end (tests/chaos/history.py). Nothing here knows how a step works. I2 (every job ends) and I6 (Redis is only a hint)
are about sequences: a healthy worker has to bring every job to its end, whatever Redis had lost before.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from core.domain.job_state import TERMINAL, JobState
from core.queue.keys import IN_PROGRESS, PAYLOAD, Keys, Lane
from tests.support.view import JobView, View

_OPEN: Final = "running"
# Of runs that were snoozed and cost nothing, those among the last so many are kept.
_KEPT_RUNS: Final = 20
_MAX_LOSSES: Final = 2
_WITHOUT_END: Final = """
local names = redis.call('KEYS', ARGV[1])
for _, lane in ipairs(KEYS) do
    for _, member in ipairs(redis.call('ZRANGE', lane, 0, -1)) do
        names[#names + 1] = ARGV[2] .. member
        names[#names + 1] = ARGV[3] .. member
    end
end
local found = {}
for _, name in ipairs(names) do
    if redis.call('PTTL', name) == -1 then found[#found + 1] = name end
end
return found
"""


# At any moment


def only_the_newest_run_is_open(job: JobView) -> bool:
    """I4: and it is open exactly while the job runs under a lease."""
    outcomes = [each.outcome for each in job.attempts]
    return (
        _OPEN not in outcomes[:-1]
        and (outcomes[-1:] == [_OPEN]) == (job.state is JobState.RUNNING) == job.leased
        and job.finished == (job.state in TERMINAL)
        and all(each.finished == (each.outcome != _OPEN) for each in job.attempts)
    )


def a_success_has_one_answer(job: JobView) -> bool:
    """I4: stored by the newest run; no other job has one."""
    successes = [each.run_no for each in job.attempts if each.outcome == "succeeded"]
    if job.state is not JobState.SUCCEEDED:
        return job.result_run is None and not successes
    return successes == [job.run_no] and job.result_run == job.run_no


def every_run_is_written_down(job: JobView) -> bool:
    """I5: in a row, written before the call. Only older snoozed runs that cost nothing are forgotten."""
    runs = [each.run_no for each in job.attempts]
    recent = set(range(max(1, job.run_no - _KEPT_RUNS + 1), job.run_no + 1))
    return runs == sorted(set(runs)) and recent <= set(runs) and max(runs, default=0) == job.run_no


def the_budget_holds(job: JobView) -> bool:
    """I5."""
    return 0 <= job.attempts_used <= job.max_attempts and all(each.attempt <= job.max_attempts for each in job.attempts)


def what_was_not_called_costs_nothing(job: JobView) -> bool:
    """I5: an answer proves a call, even if the note of the call was lost with PostgreSQL."""
    return all(each.called or each.usage or each.billed == "no" for each in job.attempts)


def two_lost_workers_end_a_job(job: JobView) -> bool:
    """I5: and only they do, or the loss of the last attempt."""
    is_lost = job.error_code == "worker_lost"
    if job.worker_losses >= _MAX_LOSSES:
        return job.worker_losses == _MAX_LOSSES and is_lost
    return not is_lost or job.attempts_used >= job.max_attempts


def each_end_is_published_once(job: JobView) -> bool:
    """I7: a delivery for each recipient that asked for it, written with the end; receivers can order them."""
    sequences = [each.sequence for each in job.deliveries]
    ends = [each.event_type for each in job.deliveries if each.sequence == job.version]
    return (
        sequences == sorted(sequences)
        and all(sequence <= job.version for sequence in sequences)
        and max(Counter(sequences).values(), default=0) <= max(1, job.recipients)
        and (job.state not in TERMINAL or ends == [f"job.{job.state}"] * job.recipients)
    )


JobRule = Callable[[JobView], bool]
ALWAYS: Final[tuple[JobRule, ...]] = (
    only_the_newest_run_is_open,
    a_success_has_one_answer,
    every_run_is_written_down,
    the_budget_holds,
    what_was_not_called_costs_nothing,
    two_lost_workers_end_a_job,
    each_end_is_published_once,
)


# When nothing waits and nothing runs, and no job was retried by hand


def the_job_has_ended(job: JobView) -> bool:
    """I2."""
    return job.state in TERMINAL


def what_was_used_is_what_was_not_refunded(job: JobView) -> bool:
    """I5: a snoozed run is refunded, and one that was lost before its call."""
    refunded = sum(
        each.outcome == "snoozed" or (each.outcome == "unknown" and not each.called) for each in job.attempts
    )
    return job.attempts_used == len(job.attempts) - refunded


def nothing_but_the_end_is_published(job: JobView) -> bool:
    """I7: to recipients that asked for ends alone."""
    return all(each.sequence == job.version for each in job.deliveries)


AT_REST: Final[tuple[JobRule, ...]] = (
    the_job_has_ended,
    what_was_used_is_what_was_not_refunded,
    nothing_but_the_end_is_published,
)


def broken(view: View, rules: Sequence[JobRule]) -> dict[str, list[UUID]]:
    """The jobs for which each rule does not hold, by the rule's name."""
    found = {rule.__name__: [job_id for job_id, job in view.jobs.items() if not rule(job)] for rule in rules}
    if not events_are_distinct(view):
        found["events_are_distinct"] = [job_id for job_id, *_ in view.events]
    return {name: job_ids for name, job_ids in found.items() if job_ids}


def events_are_distinct(view: View) -> bool:
    """I7: a webhook-id names one event of one job, and the event has no other."""
    events = set(view.events)
    return len(events) == len({event_id for *_, event_id in events}) == len({event[:2] for event in events})


# From one step to the next


def check_step(before: View, after: View, *, accepted: Collection[UUID], cancelled: Mapping[UUID, int]) -> None:
    """`accepted` are the ids that callers were given; `cancelled` has each cancelled job's version at its cancel."""
    assert broken(after, ALWAYS) == {}
    accepted_is_durable(after, accepted)
    for job_id, job in after.jobs.items():
        if (old := before.jobs.get(job_id)) is not None:
            one_terminal_transition(old, job)
            fence_never_goes_back(old, job)
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


def cancel_is_final(after: View, cancelled: Mapping[UUID, int]) -> None:
    """I8: a caller that got `cancelled` never sees a success, unless the job was retried since."""
    for job_id, version in cancelled.items():
        job = after.jobs.get(job_id)
        assert job is None or job.version > version or job.state is JobState.CANCELLED


# Redis


async def keys_without_end(redis: Redis, keys: Keys) -> set[str]:
    """Keys that Redis would keep for ever, but for those that core/queue/keys.py says have no TTL: none."""
    lanes = [keys.lane(lane) for lane in Lane]
    found = await redis.register_script(_WITHOUT_END)(keys=lanes, args=[f"{keys.prefix}:*", PAYLOAD, IN_PROGRESS])
    return {name.decode(errors="replace") for name in found} - {*lanes, keys.epoch}
