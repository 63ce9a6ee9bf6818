"""Judges a run by three logs that inferd does not write, and the database: clients, provider, receiver.

lost: an id was given, and the job did not end. doubly finished: two results, or two ends published by webhook. wrong state:
a client got a state that was taken back. failed by an outage: a job failed for another reason than its script.
repeated calls: the provider was called again for a job whose worker lived (tests/chaos/calls.py). recovery: from a
worker's death to its jobs running again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from core.domain.ids import JobId, show_job
from tests.chaos.calls import History
from tests.chaos.clients import Seen
from tests.chaos.fleet import Gone
from tests.support.invariants import ALWAYS, AT_REST, broken
from tests.support.receiver import Received
from tests.support.view import look

RECOVERY_TARGET_SECONDS = 15.0
# Of older runs, those that cost nothing are forgotten.
_KEPT_RUNS = 20
_TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})

_JOBS = """
SELECT id, state, error_code, run_no, extract(epoch FROM finished_at)::float8 AS finished,
    (SELECT count(*) FROM results WHERE results.job_id = jobs.id) AS results,
    (SELECT count(*) FROM deliveries WHERE deliveries.job_id = jobs.id) AS deliveries,
    array(SELECT run_no FROM attempts WHERE attempts.job_id = jobs.id) AS runs
FROM jobs
"""


@dataclass
class Verdict:
    """Counts of what must not be, each with examples; and the recovery times in seconds."""

    lost: list[str] = field(default_factory=list)
    doubly_finished: list[str] = field(default_factory=list)
    wrong_state: list[str] = field(default_factory=list)
    outage_failures: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    wrong_answers: list[str] = field(default_factory=list)
    stood_still: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    allowed_calls: int = 0
    duplicate_webhooks: int = 0
    most_runs: int = 0

    @property
    def slow_recoveries(self) -> list[str]:
        return [f"{seconds:.1f} s" for seconds in self.recoveries if seconds > RECOVERY_TARGET_SECONDS]

    @property
    def violations(self) -> dict[str, list[str]]:
        """What must be empty, by its name in the report."""
        return {
            "lost": self.lost,
            "doubly finished": self.doubly_finished,
            "wrong state shown": self.wrong_state,
            "failed by an outage": self.outage_failures,
            "repeated calls without a dead worker": self.repeated,
            "answers that no client should get": self.wrong_answers,
            "stood still": self.stood_still,
            "invariants broken": self.broken,
            "left in Redis": self.leftovers,
            "recoveries over the target": self.slow_recoveries,
        }

    @property
    def met(self) -> bool:
        return not any(self.violations.values())


async def judge(
    owner: asyncpg.Connection,
    *,
    seen: Sequence[Seen],
    history: History,
    received: Sequence[Received],
    kills: Sequence[Gone],
    lease_seconds: float,
) -> Verdict:
    """Reads the database as its owner, for all tenants."""
    verdict = Verdict(calls=len(history.calls))
    jobs = {show_job(JobId(row["id"])): dict(row) for row in await owner.fetch(_JOBS)}
    verdict.most_runs = max((job["run_no"] for job in jobs.values()), default=0)
    _judge_ends(verdict, history, seen, jobs)
    _judge_answers(verdict, seen, jobs)
    _judge_webhooks(verdict, jobs, received)
    _judge_calls(verdict, history, seen, jobs)
    _judge_results(verdict, jobs)
    rules = broken(await look(owner), (*ALWAYS, *AT_REST))
    verdict.broken += [f"{rule}: {', '.join(map(str, ids[:3]))}" for rule, ids in rules.items()]
    ends = {job_id: job["finished"] for job_id, job in jobs.items() if job["finished"] is not None}
    verdict.recoveries = history.recoveries(kills, ends, lease_seconds)
    return verdict


def _judge_ends(verdict: Verdict, history: History, seen: Sequence[Seen], jobs: Mapping[str, dict[str, Any]]) -> None:
    for each in seen:
        if each.job_id is None:
            continue
        job = jobs.get(each.job_id)
        if job is None or job["state"] not in _TERMINAL:
            state = "no row" if job is None else f"{job['state']} in run {job['run_no']}"
            verdict.lost.append(f"{each.job_id} ({each.model}, {state}): {history.describe(each.job_id)}")
        else:
            verdict.states[job["state"]] += 1
    extra = len(jobs.keys() - {each.job_id for each in seen})
    # The answer to a submit that was under way when the clients were stopped is nobody's: then there may be more.
    if extra and all(each.job_id for each in seen):
        verdict.doubly_finished.append(f"{extra} jobs that nobody was given an id for: a key made two jobs")


def _judge_answers(verdict: Verdict, seen: Sequence[Seen], jobs: Mapping[str, dict[str, Any]]) -> None:
    for each in seen:
        states = [state for _, state in each.answers]
        ends = [state for state in states if state in _TERMINAL]
        first_end = next((index for index, state in enumerate(states) if state in _TERMINAL), len(states))
        if len(set(ends)) > 1 or any(state not in _TERMINAL for state in states[first_end:]):
            verdict.wrong_state.append(f"{each.job_id}: {states}")
        job = jobs.get(each.job_id or "")
        if job is not None and ends and ends[-1] != job["state"]:
            verdict.wrong_state.append(f"{each.job_id}: answered {ends[-1]}, is {job['state']}")
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
        if job["deliveries"] and not events[job_id]:
            verdict.lost.append(f"{job_id}: its webhook")
    verdict.duplicate_webhooks = sum(count - 1 for count in times.values())


def _judge_calls(verdict: Verdict, history: History, seen: Iterable[Seen], jobs: Mapping[str, dict[str, Any]]) -> None:
    """Every call belongs to a run, and each run calls at most once."""
    for each in seen:
        job_id = each.job_id or ""
        runs = [call.run_no for call in history.by_job.get(job_id, [])]
        job = jobs.get(job_id, {"runs": [], "run_no": 0, "state": "no row", "error_code": None})
        recent = {run for run in runs if run > job["run_no"] - _KEPT_RUNS}
        if len(set(runs)) != len(runs) or not recent <= set(job["runs"]):
            verdict.repeated.append(f"{job_id}: calls of runs {runs}, rows of runs {sorted(job['runs'])}")
        if history.repeated(job_id):
            verdict.repeated.append(f"{job_id} ({each.model}, {job['state']}): {history.describe(job_id)}")
        verdict.allowed_calls += history.excused(job_id)
        if job["state"] in _TERMINAL and history.failed_by_outage(each, job["state"], job["error_code"]):
            end = f"{job['state']} {job['error_code']}"
            verdict.outage_failures.append(f"{job_id} ({each.model}, {end}): {history.describe(job_id)}")


def _judge_results(verdict: Verdict, jobs: Mapping[str, dict[str, Any]]) -> None:
    for job_id, job in jobs.items():
        if (job["results"] == 1) != (job["state"] == "succeeded") or job["results"] > 1:
            verdict.doubly_finished.append(f"{job_id}: {job['state']} with {job['results']} results")
