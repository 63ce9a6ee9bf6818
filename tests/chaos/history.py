"""Judges a run by three logs that inferd does not write, and the database: clients, provider, receiver.

lost: an id was given, and the job did not end. doubly finished: two results, or two ends told by webhook. wrong state:
somebody was told something that was taken back. extra calls: the provider answered a job more than once although no
process died or was stopped with that call in flight. recovery: from a worker's death to its jobs running again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import asyncpg

from core.domain.ids import JobId, show_job
from tests.chaos.clients import Seen
from tests.chaos.faults import Outage
from tests.chaos.fleet import Kill
from tests.chaos.invariants import broken_rules
from tests.conformance.fake_provider import Call
from tests.support.receiver import Received

RECOVERY_TARGET_SECONDS = 15.0
_TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})

_JOBS = """
SELECT id, state,
    (SELECT count(*) FROM results WHERE results.job_id = jobs.id) AS results,
    (SELECT count(*) FROM deliveries WHERE deliveries.job_id = jobs.id) AS deliveries
FROM jobs
"""
_ATTEMPTS = """
SELECT job_id, run_no, outcome, worker_id, billed, called_at IS NOT NULL AS called,
    extract(epoch FROM started_at)::float8 AS started, extract(epoch FROM finished_at)::float8 AS finished
FROM attempts ORDER BY job_id, run_no
"""


@dataclass
class Verdict:
    """Counts of what must not be, each with examples; and the recovery times in seconds."""

    lost: list[str] = field(default_factory=list)
    doubly_finished: list[str] = field(default_factory=list)
    wrong_state: list[str] = field(default_factory=list)
    extra_calls: list[str] = field(default_factory=list)
    untidy: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    allowed_calls: int = 0
    duplicate_webhooks: int = 0

    @property
    def slow_recoveries(self) -> list[float]:
        return [seconds for seconds in self.recoveries if seconds > RECOVERY_TARGET_SECONDS]

    @property
    def met(self) -> bool:
        wrong = self.lost, self.doubly_finished, self.wrong_state, self.extra_calls, self.untidy, self.slow_recoveries
        return not any(wrong)


@dataclass(frozen=True)
class Attempt:
    run_no: int
    outcome: str
    worker_id: str
    started: float
    finished: float | None
    called: bool
    billed: str

    @property
    def lost_its_answer(self) -> bool:
        """The process was gone before the answer came: killed, or stopped with the call in flight. It admits so."""
        return self.outcome == "unknown" or (self.outcome == "snoozed" and self.billed == "maybe")


async def judge(
    owner: asyncpg.Connection,
    *,
    seen: Sequence[Seen],
    calls: Sequence[Call],
    received: Sequence[Received],
    kills: Sequence[Kill],
    outages: Sequence[Outage],
) -> Verdict:
    """Reads the database as its owner, for all tenants."""
    verdict = Verdict()
    jobs = {show_job(JobId(row["id"])): dict(row) for row in await owner.fetch(_JOBS)}
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for row in await owner.fetch(_ATTEMPTS):
        attempts[show_job(JobId(row["job_id"]))].append(
            Attempt(
                row["run_no"],
                row["outcome"],
                row["worker_id"],
                row["started"],
                row["finished"],
                row["called"],
                row["billed"],
            )
        )
    _judge_ends(verdict, seen, jobs)
    _judge_what_was_told(verdict, seen, jobs)
    _judge_webhooks(verdict, jobs, received)
    _judge_calls(verdict, attempts, calls)
    _judge_results(verdict, jobs)
    verdict.untidy += [f"{rule}: {ids[:3]}" for rule, ids in (await broken_rules(owner)).items()]
    verdict.recoveries = recoveries(attempts.values(), kills, outages)
    return verdict


def _judge_ends(verdict: Verdict, seen: Sequence[Seen], jobs: Mapping[str, dict[str, Any]]) -> None:
    for each in seen:
        job = jobs.get(each.job_id or "")
        if job is None or job["state"] not in _TERMINAL:
            verdict.lost.append(f"{each.job_id}: {'no row' if job is None else job['state']}")
        else:
            verdict.states[job["state"]] += 1
    extra = len(jobs) - len({each.job_id for each in seen})
    if extra:
        verdict.doubly_finished.append(f"{extra} jobs that nobody was given an id for: a key made two jobs")


def _judge_what_was_told(verdict: Verdict, seen: Sequence[Seen], jobs: Mapping[str, dict[str, Any]]) -> None:
    for each in seen:
        states = [state for _, state in each.told]
        ends = [state for state in states if state in _TERMINAL]
        first_end = next((index for index, state in enumerate(states) if state in _TERMINAL), len(states))
        if len(set(ends)) > 1 or any(state not in _TERMINAL for state in states[first_end:]):
            verdict.wrong_state.append(f"{each.job_id}: {states}")
        job = jobs.get(each.job_id or "")
        if job is not None and ends and ends[-1] != job["state"]:
            verdict.wrong_state.append(f"{each.job_id}: told {ends[-1]}, is {job['state']}")
        if each.cancelled and "succeeded" in states:
            verdict.wrong_state.append(f"{each.job_id}: cancelled, then {states}")
        if each.output is not None and each.output != each.key:
            verdict.wrong_state.append(f"{each.job_id}: somebody else's answer {each.output!r}")


def _judge_webhooks(verdict: Verdict, jobs: Mapping[str, dict[str, Any]], received: Sequence[Received]) -> None:
    events: dict[str, set[str]] = defaultdict(set)
    times: Counter[str] = Counter()
    for each in received:
        events[each.event["data"]["job_id"]].add(each.id)
        times[each.id] += 1
        job = jobs.get(each.event["data"]["job_id"])
        if job is None or each.event["type"] != f"job.{job['state']}":
            verdict.wrong_state.append(f"webhook {each.event['type']} for {each.event['data']['job_id']}: {job}")
    for job_id, job in jobs.items():
        if len(events[job_id]) > 1 or job["deliveries"] > 1:
            verdict.doubly_finished.append(f"{job_id}: {len(events[job_id])} webhook ids")
        if not events[job_id]:
            verdict.lost.append(f"{job_id}: its webhook")
    verdict.duplicate_webhooks = sum(count - 1 for count in times.values())


def _judge_calls(verdict: Verdict, attempts: Mapping[str, list[Attempt]], calls: Sequence[Call]) -> None:
    """Every call belongs to a run, each run calls at most once, and a good answer is asked for again only when the
    process that would have stored it was gone (its attempt says that it may have been billed)."""
    by_job: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_job[call.job_id].append(call)
    for job_id, made in by_job.items():
        runs = [call.run_no for call in made]
        known = {attempt.run_no: attempt.outcome for attempt in attempts.get(job_id, [])}
        excused = {attempt.run_no for attempt in attempts.get(job_id, []) if attempt.lost_its_answer}
        if len(set(runs)) != len(runs) or not set(runs) <= known.keys():
            verdict.extra_calls.append(f"{job_id}: calls of runs {runs}, rows of runs {sorted(known)}")
        good = [call.run_no for call in made if call.outcome == "answered" and call.model.startswith("ok")]
        # A zombie's answer may come after that of the run which took over.
        kept = next((run for run in good if known.get(run) == "succeeded"), max(good, default=0))
        unexcused = [run for run in good if run != kept and run not in excused]
        verdict.allowed_calls += max(0, len(good) - 1) - len(unexcused)
        if unexcused:
            verdict.extra_calls.append(f"{job_id}: answered in runs {good}, which ended as {known}")


def _judge_results(verdict: Verdict, jobs: Mapping[str, dict[str, Any]]) -> None:
    for job_id, job in jobs.items():
        if (job["results"] == 1) != (job["state"] == "succeeded") or job["results"] > 1:
            verdict.doubly_finished.append(f"{job_id}: {job['state']} with {job['results']} results")


def recoveries(histories: Iterable[list[Attempt]], kills: Sequence[Kill], outages: Sequence[Outage]) -> list[float]:
    """For each job that a killed worker was running: from the kill to its next run, or to its end without one.

    Time in which a store was away is nobody's recovery: it does not count.
    """
    found = []
    for attempts in histories:
        for attempt, following in zip_longest(attempts, attempts[1:]):
            kill = next((kill for kill in kills if f"-{kill.pid}-" in attempt.worker_id), None)
            if kill is None or attempt.outcome not in ("unknown", "running"):
                continue
            again = following.started if following is not None else attempt.finished
            if again is not None and again >= kill.at:
                away = sum(max(0.0, min(each.end, again) - max(each.start, kill.at)) for each in outages)
                found.append(again - kill.at - away)
    return found
