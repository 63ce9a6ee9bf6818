"""Each thing that happened to a job is told once, whatever was seen of it."""

from cli.client.http import Job
from cli.client.progress import changes
from tests.cli.scripted_api import attempt, job


def seen(status: str, *attempts: dict[str, object], used: int | None = None) -> Job:
    document = job(status, attempts=list(attempts))
    if used is not None:
        document["attempts_used"] = used
    return Job.model_validate({**document, "document": {}})


def test_the_first_look_tells_where_the_job_is() -> None:
    assert changes(None, seen("queued")) == ["queued"]
    assert changes(None, seen("succeeded")) == ["succeeded"]


def test_nothing_new_is_nothing_told() -> None:
    assert changes(seen("running"), seen("running")) == []


def test_attempts_that_were_missed_are_told_too() -> None:
    first = attempt(1, "retried", "provider_unavailable", wait_seconds=0.5)
    second = attempt(2, "retried", "rate_limited", http_status=429)
    assert changes(seen("queued"), seen("failed", first, second, used=2)) == [
        "attempt 1: provider_unavailable; again in 0.5 s",
        "attempt 2: rate_limited (HTTP 429)",
        "failed",
    ]


def test_an_attempt_is_told_when_it_has_ended_and_only_then() -> None:
    running = seen("running", attempt(1, "running"))
    assert changes(seen("queued"), running) == ["running"]
    assert changes(running, seen("succeeded", attempt(1, "succeeded"))) == ["succeeded"]


def test_a_snooze_has_no_number_of_its_own() -> None:
    first, second = (attempt(1, "snoozed", "rate_limited", run=run, wait_seconds=2.0) for run in (1, 2))
    assert changes(seen("queued"), seen("queued", first, second)) == ["postponed: rate_limited; again in 2.0 s"] * 2


def test_a_second_run_is_a_change_although_the_status_is_the_same() -> None:
    assert changes(seen("running", used=1), seen("running", used=2)) == ["running (attempt 2)"]
