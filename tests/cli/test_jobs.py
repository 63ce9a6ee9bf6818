"""`inferd jobs` against the real API and a worker: list, get, wait, cancel, retry; and its errors."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import httpx2
import pytest

from cli.command_name import next_page
from tests.cli.conftest import Invoke, Outcome
from tests.support.processes import RunningApi
from tests.support.tenants import Tenant

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* \[")
Jobs = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def jobs(shared_api: RunningApi, tenant: Tenant, invoke: Invoke) -> Jobs:
    async def run(*arguments: str) -> Outcome:
        target = ("--api-url", shared_api.url, "--api-key", tenant.key)
        outcome = await asyncio.to_thread(invoke, "jobs", *arguments, *target)
        # The API is in this process and logs to the same stdout.
        lines = [line for line in outcome.stdout.splitlines(keepends=True) if not _LOGGED.match(line)]
        return replace(outcome, stdout="".join(lines))

    return run


@pytest.fixture
async def client(shared_api: RunningApi, tenant: Tenant) -> AsyncIterator[httpx2.AsyncClient]:
    async with shared_api.client(tenant) as opened:
        yield opened


async def submit(client: httpx2.AsyncClient, model: str, **more: object) -> str:
    answer = await client.post("/v1/jobs", json={"model": model, "input": "Hi [you]", **more})
    return str(answer.json()["id"])


@pytest.mark.usefixtures("worker")
async def test_jobs_are_read_listed_and_retried(client: httpx2.AsyncClient, jobs: Jobs) -> None:
    good, bad = await submit(client, "echo/echo", metadata={"team": "a"}), await submit(client, "echo/fail")
    for command in (["wait", "--timeout", "20"], ["get"]):
        read = await jobs(*command, good)
        assert (read.exit_code, read.stdout) == (0, "Hi [you]\n")
    for command in (["wait", "--timeout", "20"], ["get"]):
        failed = await jobs(*command, bad)
        assert (failed.exit_code, failed.stdout) == (1, "")
        assert f"The job {bad} failed: " in failed.stderr

    listed = (await jobs("list", "--limit", "1")).stdout.splitlines()
    assert listed[1].split()[:3] == [bad, "failed", "echo/fail"]
    assert f"inferd jobs list --limit 1 --after {bad}" in (await jobs("list", "--limit", "1")).stderr
    for narrowed in (["--after", bad], ["--status", "succeeded"], ["-m", "echo/echo"], ["--metadata", "team=a"]):
        page = json.loads((await jobs("list", *narrowed, "-o", "json")).stdout)
        assert [each["id"] for each in page["data"]] == [good], narrowed

    assert (await jobs("retry", bad)).stdout == f"{bad}  queued\n"
    assert (await jobs("wait", bad, "--timeout", "20")).exit_code == 1
    refused = await jobs("retry", good)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "only a failed, cancelled or expired one" in refused.stderr
    kept = await jobs("cancel", good)
    assert kept.stdout == f"{good}  succeeded\n"


async def test_a_job_that_has_not_ended_is_shown_as_it_stands_and_can_be_cancelled(
    client: httpx2.AsyncClient, jobs: Jobs
) -> None:
    waiting = await submit(client, "echo/echo")
    stands = f"{waiting}  queued  echo/echo  attempts: 0\n"
    now = await jobs("get", waiting)
    assert (now.exit_code, now.stdout) == (0, stands)
    later = await jobs("wait", waiting, "--timeout", "0.05")
    assert (later.exit_code, later.stdout) == (124, "")
    assert f"inferd jobs wait {waiting} --api-url " in later.stderr
    cancelled = await jobs("cancel", waiting, "-o", "json")
    assert json.loads(cancelled.stdout)["status"] == "cancelled"


@pytest.mark.parametrize("job", ["job_00000000000000000000000000000000", "job_1", "../jobs"])
async def test_an_unknown_job_is_said_to_be_none(job: str, jobs: Jobs) -> None:
    for command in ("get", "wait", "cancel", "retry"):
        outcome = await jobs(command, job)
        assert outcome.exit_code in {2, 3}, outcome
        assert outcome.stderr.startswith("inferd: ")
        assert outcome.stdout == ""


def test_the_next_page_is_a_command_to_paste() -> None:
    words = ["jobs", "list", "--metadata", "team=a b"]
    command = next_page(words, "job_2; date", "http://127.0.0.1:1")
    assert command.endswith("jobs list --metadata 'team=a b' --after 'job_2; date' --api-url http://127.0.0.1:1")
