"""One job from submit to its end, through the API and a real worker: every way in which a run can end."""

from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from core.domain.inference import InferenceRequest, InferenceResult
from core.providers.echo import Echo
from core.settings import Settings
from tests.support.processes import RunningWorker, run_worker
from tests.support.waiting import eventually
from tests.worker.stage import WorkerStage


async def run(api: httpx2.AsyncClient, model: str, **body: Any) -> Any:
    """The job object after it has ended."""
    answer = await api.post(
        "/v1/jobs", json={"model": model, "input": "hello there", **body}, headers={"prefer": "wait=30"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def column(job: Any, name: str) -> list[Any]:
    return [attempt[name] for attempt in job["attempts"]]


def errors(job: Any) -> list[Any]:
    return [attempt["error"] and attempt["error"]["code"] for attempt in job["attempts"]]


async def test_an_answer(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = await run(api, "echo/echo")
    assert (job["status"], job["output"]["text"], job["error"]) == ("succeeded", "hello there", None)
    assert job["usage"] == {"input_tokens": 2, "output_tokens": 2}
    (attempt,) = job["attempts"]
    assert (attempt["attempt"], attempt["run"], attempt["outcome"], attempt["billed"]) == (1, 1, "succeeded", "yes")
    assert attempt["provider_request_id"] == f"echo-{job['id'].removeprefix('job_')}-1"
    assert job["created_at"] <= job["started_at"] <= attempt["finished_at"] <= job["finished_at"]


async def test_a_provider_that_recovers(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = await run(api, "echo/flaky")
    assert (job["status"], job["attempts_used"]) == ("succeeded", 3)
    assert column(job, "outcome") == ["retried", "retried", "succeeded"]
    assert column(job, "attempt") == column(job, "run") == [1, 2, 3]
    assert [error and error["class"] for error in column(job, "error")] == ["server_error", "server_error", None]
    assert column(job, "http_status") == [500, 500, None]
    assert [wait is None for wait in column(job, "wait_seconds")] == [False, False, True]


async def test_its_log_lines_name_the_job_and_the_model(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    with capture_logs(processors=[merge_contextvars]) as lines:
        job = await run(api, "echo/fail")
    (line,) = [line for line in lines if line["event"] == "attempt_failed"]
    assert (line["job_id"], line["model"], line["attempt"]) == (job["id"], "echo/fail", 1)


async def test_a_provider_that_does_not_recover(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = await run(api, "echo/flaky", max_attempts=2)
    assert (job["status"], job["attempts_used"], job["error"]["code"]) == ("failed", 2, "provider_error")
    assert column(job, "outcome") == ["retried", "failed"]


async def test_a_request_that_no_attempt_can_mend(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = await run(api, "echo/fail")
    assert (job["status"], job["attempts_used"], job["output"]) == ("failed", 1, None)
    assert errors(job) == [job["error"]["code"]] == ["provider_invalid_request"]


async def test_an_answer_that_is_none(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = await run(api, "echo/garbage", max_attempts=2)
    assert (job["status"], job["output"], len(job["attempts"])) == ("failed", None, 2)
    assert {error["class"] for error in column(job, "error")} == {"bad_answer"}


async def test_retry_after_is_a_minimum_and_costs_no_attempt(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = await run(api, "echo/rate-limited", params={"retry_after": 0.4})
    assert (job["status"], job["attempts_used"]) == ("succeeded", 1)
    assert (column(job, "outcome"), column(job, "attempt")) == (["snoozed", "succeeded"], [1, 1])
    limited, answered = job["attempts"]
    assert (limited["http_status"], limited["retry_after_seconds"], limited["billed"]) == (429, 0.4, "no")
    waited = datetime.fromisoformat(answered["started_at"]) - datetime.fromisoformat(limited["finished_at"])
    assert waited.total_seconds() >= limited["wait_seconds"] >= 0.4


async def test_a_timeout_is_each_attempts_own(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = await run(api, "echo/timeout", timeout_seconds=0.1, max_attempts=2)
    assert (job["status"], errors(job)) == ("failed", ["attempt_timeout", "attempt_timeout"])


async def test_a_deadline_ends_a_run(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = await run(api, "echo/timeout", deadline_seconds=0.3)
    assert (job["status"], job["error"]["code"]) == ("expired", "deadline_exceeded")
    assert column(job, "outcome") == ["expired"]


async def test_a_wait_that_would_end_behind_the_deadline_is_not_taken(
    api: httpx2.AsyncClient, worker: RunningWorker
) -> None:
    job = await run(api, "echo/rate-limited", params={"retry_after": 600.0}, deadline_seconds=60)
    assert (job["status"], errors(job)) == ("failed", ["rate_limited"])


async def test_a_job_for_later_does_not_run_before(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    at = (await run(api, "echo/echo"))["finished_at"]
    job = await run(api, "echo/echo", run_at=(datetime.fromisoformat(at) + timedelta(seconds=0.5)).isoformat())
    assert job["started_at"] >= job["run_at"] > at


async def test_a_bug_in_an_adapter_costs_an_attempt_and_no_worker(
    api: httpx2.AsyncClient, worker: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = Echo.infer

    async def infer_badly(echo: Echo, request: InferenceRequest) -> InferenceResult:
        if request.attempt == 1:
            raise KeyError("a bug")
        return await infer(echo, request)

    monkeypatch.setattr(Echo, "infer", infer_badly)
    job = await run(api, "echo/echo")
    assert (job["status"], errors(job)) == ("succeeded", ["adapter_error", None])


@pytest.mark.parametrize("request_bytes", [b"", b"\x00not json", b"\x00{}"])
async def test_a_request_that_nobody_can_read_fails_with_a_reason(
    stage: WorkerStage, quick: Settings, stack: AsyncExitStack, request_bytes: bytes
) -> None:
    """F24: and its neighbour runs."""
    broken, fine = await stage.submit("echo/echo"), await stage.submit("echo/echo")
    await stage.owner.execute("UPDATE jobs SET request = $2 WHERE id = $1", broken, request_bytes)
    await stack.enter_async_context(run_worker(quick))
    await stage.ended(fine)

    async def ended() -> str | None:
        row = await stage.row(broken)
        return row["finished_at"] and f"{row['state']}: {row['error_code']}"

    assert await eventually(ended) == "failed: request_unusable"
