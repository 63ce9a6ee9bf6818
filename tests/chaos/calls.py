"""Judges the calls that reached the provider, from outside: which worker made one is the path that it was made on.

A job is called for again only where its script says so (a scripted failure) or where the worker that held the call was
killed, paused or stopped by the harness. Everything else is a repeated call: somebody pays twice.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from tests.chaos.clients import Seen
from tests.chaos.fleet import Gone
from tests.chaos.outage import Outage, seconds_of
from tests.conformance.fake_provider import Call

# An answer that arrived so shortly before its worker died may not have been committed.
_COMMIT_SECONDS = 3.0
# A worker that was paused in the middle of writing a request sends the rest when it goes on, and leaves at once.
_WAKING_SECONDS = 0.5
# By how much the note that a worker goes on may be later than what it does then.
_CLOCK_SECONDS = 0.1
# How a job ends whose script fails it: by the model's name before the colon.
_SCRIPTED_CODES: Mapping[str, str] = {"invalid": "provider_invalid_request", "flaky": "provider_error"}
_LOSSES = 2


def member_of(call: Call) -> str:
    """The worker that made the call."""
    return call.path.split("/")[1]


@dataclass
class History:
    """The calls of one run with what was done to the workers and the stores meanwhile. `started` is its zero."""

    calls: Sequence[Call]
    gone: Sequence[Gone]
    outages: Sequence[Outage]
    started: float
    max_attempts: int = 4
    by_job: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for call in sorted(self.calls, key=lambda call: call.arrived_at):
            self.by_job[call.job_id].append(call)

    def repeated(self, job_id: str) -> list[Call]:
        """The calls of a job that should have been its last."""
        made = [call for call in self.by_job.get(job_id, []) if not self.was_half_written(call)]
        return [
            call
            for number, (call, following) in enumerate(pairwise(made), 1)
            if not _fails_by_script(call, number) and not self.was_orphaned(call, following.arrived_at)
        ]

    def excused(self, job_id: str) -> int:
        """How many calls were repeated because their worker was gone."""
        made = self.by_job.get(job_id, [])
        pairs = enumerate(pairwise(made), 1)
        return sum(
            self.was_half_written(following)
            or (not _fails_by_script(call, number) and self.was_orphaned(call, following.arrived_at))
            for number, (call, following) in pairs
        )

    def was_orphaned(self, call: Call, before: float) -> bool:
        """Whether its worker was gone while the call was open, or before the answer can have been committed."""
        until = before if call.ended_at is None else self._committed_by(call.ended_at)
        return any(
            each.member == member_of(call) and each.end >= call.arrived_at and each.start <= min(until, before)
            for each in self.gone
        )

    def was_half_written(self, call: Call) -> bool:
        """Whether its worker was paused as it wrote the request, after it had asked whether it may; and left at once."""
        left_at_once = call.outcome == "client_left" and call.ended_at is not None
        return left_at_once and any(
            each.member == member_of(call)
            and each.how == "paused"
            and 0 <= call.arrived_at - each.end + _CLOCK_SECONDS <= _WAKING_SECONDS
            and (call.ended_at or inf) - each.end <= 2 * _WAKING_SECONDS
            for each in self.gone
        )

    def _committed_by(self, answered_at: float) -> float:
        """An outage keeps a commit waiting, and so does the next one if it begins before the answer is written."""
        until = answered_at + _COMMIT_SECONDS
        for each in sorted(self.outages, key=lambda outage: outage.start):
            if each.start <= until and each.end >= answered_at:
                until = max(until, each.end + _COMMIT_SECONDS)
        return until

    def failed_by_outage(self, seen: Seen, state: str, error_code: str | None) -> bool:
        """Whether the job ended otherwise than by its script, its caller, or two workers that died under it."""
        name, _, argument = seen.model.partition(":")
        if state == "cancelled":
            return not seen.cancelled
        orphaned = sum(self.was_orphaned(call, inf) for call in self.by_job.get(seen.job_id or "", []))
        scripted = name == "invalid" or (name == "flaky" and int(argument) >= self.max_attempts)
        if state == "succeeded":
            return False
        if state == "failed" and error_code == "worker_lost":
            return orphaned < (1 if scripted else _LOSSES)
        return not (scripted and state == "failed" and error_code == _SCRIPTED_CODES[name])

    def recoveries(self, kills: Sequence[Gone], ends: Mapping[str, float], lease_seconds: float) -> list[float]:
        """For each call that a killed worker had open: from the kill to the job's next call, or to its end without one.

        Time in which a store was away, and one lease after it, is nobody's recovery: it does not count. (Nobody is
        declared dead before PostgreSQL has been there for a lease.)
        """
        away = [
            Outage(each.name, each.start, each.end + (lease_seconds if "PostgreSQL" in each.name else 0.0))
            for each in self.outages
        ]
        found = []
        for job_id, made in self.by_job.items():
            for number, call in enumerate(made):
                kill = next((each for each in kills if each.member == member_of(call) and _open_at(call, each)), None)
                if kill is None:
                    continue
                again = made[number + 1].arrived_at if number + 1 < len(made) else ends.get(job_id, 0.0)
                if again > kill.start:
                    found.append(again - kill.start - seconds_of(away, kill.start, again))
        return found

    def describe(self, job_id: str) -> str:
        """What happened to the job, for who has to find out why."""
        calls = [
            f"run {call.run_no} by {member_of(call)} {self._at(call.arrived_at)}–{self._at(call.ended_at)} {call.outcome}"
            for call in self.by_job.get(job_id, [])
        ]
        if not calls:
            return "never called"
        first = self.by_job[job_id][0].arrived_at
        last = self.by_job[job_id][-1].ended_at or first
        made_by = {member_of(call) for call in self.by_job[job_id]}
        suffered = [
            Outage(f"{each.member} {each.how}", each.start, each.end) for each in self.gone if each.member in made_by
        ]
        beside = [
            f"{each.name} {self._at(each.start)}–{self._at(each.end)}"
            for each in sorted((*self.outages, *suffered), key=lambda outage: outage.start)
            if each.start <= last + 1.0 and each.end >= first - 1.0
        ]
        return "; ".join(calls) + (f" | during: {', '.join(beside)}" if beside else " | no fault was on")

    def _at(self, moment: float | None) -> str:
        return "…" if moment is None else f"{moment - self.started:.1f}"


def _fails_by_script(call: Call, number: int) -> bool:
    name, _, argument = call.model.partition(":")
    return (
        call.outcome == "unavailable"
        or name == "invalid"
        or (name == "flaky" and number <= int(argument))
        or (name == "rate-limited-once" and call.run_no <= 1)
    )


def _open_at(call: Call, kill: Gone) -> bool:
    return call.arrived_at <= kill.start and (call.ended_at is None or call.ended_at >= kill.start)
