"""The judge of calls: what it lets pass and what it finds, on logs written by hand."""

import pytest

from tests.chaos.calls import History
from tests.chaos.clients import Seen
from tests.chaos.fleet import Gone
from tests.chaos.outage import Outage, seconds_of
from tests.conformance.fake_provider import Call


def _call(
    run: int, worker: str, start: float, end: float | None, *, model: str = "ok:5", outcome: str = "answered"
) -> Call:
    headers = {"x-inferd-job-id": "job_1", "x-inferd-run": str(run)}
    call = Call(run, "POST", f"/{worker}/v1/chat/completions", headers, {"model": model}, arrived_at=start)
    call.outcome, call.ended_at = ("open", None) if end is None else (outcome, end)
    return call


def _history(*calls: Call, gone: tuple[Gone, ...] = (), outages: tuple[Outage, ...] = ()) -> History:
    return History(calls, gone, outages, started=0.0)


def test_a_second_call_of_a_living_worker_is_a_repeated_one() -> None:
    calls = _call(1, "worker-0", 1, 9, outcome="client_left"), _call(2, "worker-1", 10, 15)
    assert [call.run_no for call in _history(*calls).repeated("job_1")] == [1]
    # Another worker's death is no excuse, nor is one long after the answer.
    others = Gone("worker-1", "killed", 5, 5), Gone("worker-0", "killed", 20, 20)
    assert _history(*calls, gone=others).repeated("job_1")


@pytest.mark.parametrize("how", ["killed", "paused", "stopped"])
def test_a_worker_that_was_gone_excuses_its_call(how: str) -> None:
    calls = _call(1, "worker-0", 1, 9, outcome="client_left"), _call(2, "worker-1", 20, 25)
    history = _history(*calls, gone=(Gone("worker-0", how, 5, 6),))
    assert not history.repeated("job_1")
    assert history.excused("job_1") == 1


def test_a_request_that_was_half_written_when_its_worker_was_paused_is_no_repeated_call() -> None:
    pause = Gone("worker-1", "paused", 5, 10)
    answered = _call(2, "worker-0", 8, 13)
    assert not _history(answered, _call(1, "worker-1", 10.02, 10.2, outcome="client_left"), gone=(pause,)).repeated(
        "job_1"
    )
    # One that stays is paid for, and one that comes later was sent by somebody who no longer had the job.
    assert _history(answered, _call(1, "worker-1", 10.02, 13.0), gone=(pause,)).repeated("job_1")
    assert _history(answered, _call(1, "worker-1", 10.9, 11.0, outcome="client_left"), gone=(pause,)).repeated("job_1")


def test_an_answer_that_waits_for_postgresql_dies_with_its_worker() -> None:
    calls = _call(1, "worker-0", 1, 9), _call(2, "worker-1", 40, 45)
    killed = (Gone("worker-0", "killed", 20, 20),)
    assert _history(*calls, gone=killed).repeated("job_1")
    assert not _history(*calls, gone=killed, outages=(Outage("PostgreSQL", 8, 22),)).repeated("job_1")


def test_an_answer_waits_through_one_outage_after_another() -> None:
    calls = _call(1, "worker-0", 1, 9), _call(2, "worker-1", 40, 45)
    outages = Outage("PostgreSQL recovers", 9.1, 13), Outage("PostgreSQL refuses", 14, 18)
    killed = (Gone("worker-0", "killed", 20, 20),)
    assert not _history(*calls, gone=killed, outages=outages).repeated("job_1")
    assert _history(*calls, gone=killed, outages=outages[:1]).repeated("job_1")


def test_what_fails_by_its_script_is_called_again() -> None:
    flaky = _call(1, "worker-0", 1, 2, model="flaky:1"), _call(2, "worker-0", 3, 4, model="flaky:1")
    assert not _history(*flaky).repeated("job_1")
    unavailable = _call(1, "worker-0", 1, 2, outcome="unavailable"), _call(2, "worker-0", 3, 4)
    assert not _history(*unavailable).repeated("job_1")


@pytest.mark.parametrize(
    ("model", "state", "code", "outage"),
    [
        ("ok:5", "succeeded", None, False),
        ("ok:5", "failed", "provider_unreachable", True),
        ("ok:5", "failed", "worker_lost", True),
        ("ok:5", "expired", "deadline_exceeded", True),
        ("ok:5", "cancelled", "cancelled", True),
        ("flaky:9", "failed", "provider_error", False),
        ("flaky:1", "failed", "provider_error", True),
        ("invalid", "failed", "provider_invalid_request", False),
        ("invalid", "failed", "provider_unreachable", True),
    ],
)
def test_only_its_script_may_fail_a_job(model: str, state: str, code: str | None, outage: bool) -> None:
    assert _history().failed_by_outage(Seen("key", model, "job_1"), state, code) is outage


def test_two_workers_that_died_under_a_job_may_fail_it() -> None:
    calls = _call(1, "worker-0", 1, 2, outcome="client_left"), _call(2, "worker-1", 3, 4, outcome="client_left")
    deaths = Gone("worker-0", "killed", 2, 2), Gone("worker-1", "killed", 4, 4)
    seen = Seen("key", "ok:5", "job_1")
    assert not _history(*calls, gone=deaths).failed_by_outage(seen, "failed", "worker_lost")
    assert _history(*calls, gone=deaths[:1]).failed_by_outage(seen, "failed", "worker_lost")


def test_a_worker_that_died_before_it_could_commit_counts_too() -> None:
    calls = _call(1, "worker-0", 1, 2, outcome="client_left"), _call(2, "worker-1", 3, 4)
    deaths = Gone("worker-0", "killed", 2, 2), Gone("worker-1", "killed", 5, 5)
    assert not _history(*calls, gone=deaths).failed_by_outage(Seen("key", "ok:5", "job_1"), "failed", "worker_lost")


def test_recovery_is_from_the_death_to_the_next_call_without_outages() -> None:
    calls = _call(1, "worker-0", 1, 5, outcome="client_left"), _call(2, "worker-1", 20, 25)
    kill = Gone("worker-0", "killed", 5, 5)
    assert _history(*calls).recoveries([kill], {}, 2.0) == [15.0]
    away = (Outage("PostgreSQL stands still", 6, 9), Outage("Redis is full", 12, 13))
    assert _history(*calls, outages=away).recoveries([kill], {}, 2.0) == [9.0]


def test_overlapping_outages_count_once() -> None:
    outages = Outage("a", 1, 5), Outage("b", 2, 3), Outage("c", 4, 8)
    assert seconds_of(outages, 0, 6) == 5
    assert seconds_of(outages, 9, 12) == 0
