"""The demo fails when a job did not become what it promises, and says which and how."""

from typing import Any

import pytest

from cli.client.http import Job
from local.demo.jobs import JOBS, DemoJob
from local.demo.receiver import Received
from tests.cli.scripted_api import JOB_ID, job

GOOD = DemoJob("a test", "echo/echo", "Hi")
BAD = DemoJob("a hopeless test", "echo/fail", "Hi", status="failed")


def read(document: dict[str, Any]) -> Job:
    return Job.model_validate({**document, "document": document})


def test_it_shows_what_it_promises() -> None:
    assert sum(wanted.model == "local/smollm2-135m" for wanted in JOBS) >= 3
    assert {(wanted.model, wanted.status, wanted.attempts) for wanted in JOBS} >= {
        ("echo/flaky", "succeeded", 3),
        ("echo/fail", "failed", 1),
    }
    body = JOBS[0].body("http://127.0.0.1:1/hook")
    assert body["webhook"] == {"url": "http://127.0.0.1:1/hook"}


def test_what_came_out_right_is_no_problem() -> None:
    assert GOOD.problems(read(job("succeeded")), Received("job.succeeded", JOB_ID)) == []
    assert BAD.problems(read(job("failed")), Received("job.failed", JOB_ID)) == []


@pytest.mark.parametrize(
    ("wanted", "document", "event", "problem"),
    [
        (GOOD, job("failed"), "job.succeeded", "is failed (provider_invalid_request: It is wrong.), not succeeded"),
        (GOOD, job("running"), "job.succeeded", "is running, not succeeded"),
        (GOOD, job("succeeded", attempts_used=2), "job.succeeded", "took 2 attempts, not 1"),
        (GOOD, job("succeeded", output=None), "job.succeeded", "has no output"),
        (GOOD, job("succeeded", usage=None), "job.succeeded", "has no count of tokens"),
        (BAD, job("failed", error=None), "job.failed", "does not say why it failed"),
        (GOOD, job("succeeded"), None, "sent no webhook that could be verified"),
        (GOOD, job("succeeded"), "job.failed", "sent the webhook job.failed, not job.succeeded"),
    ],
)
def test_what_did_not_is_named(wanted: DemoJob, document: dict[str, Any], event: str | None, problem: str) -> None:
    received = None if event is None else Received(event, JOB_ID)
    assert f"{wanted.about} ({JOB_ID}) {problem}" in wanted.problems(read(document), received)
