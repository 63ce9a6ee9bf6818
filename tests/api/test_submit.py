"""POST /v1/jobs: what is taken in, and what the answer says."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from tests.support.processes import RunningWorker
from tests.support.tenants import Tenant

JOB = {"model": "echo/echo", "input": "hello there"}


async def test_answers_202_with_a_location_and_the_whole_job(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", json=JOB | {"metadata": {"order": "7"}, "params": {"temperature": 0.5}})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["retry-after"] == "1"
    assert job["status"] == "queued"
    assert job["input"] == [{"role": "user", "content": "hello there"}]
    assert job["params"] == {"temperature": 0.5}
    assert job["metadata"] == {"order": "7"}
    assert job["priority"] == "standard"
    assert job["created_at"].endswith("Z")
    assert job["urls"]["self"].endswith(job["id"])
    assert (await api.get(answer.headers["location"])).json() == job


async def test_prefer_wait_answers_200_with_the_result(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    answer = await api.post("/v1/jobs", json=JOB, headers={"prefer": "respond-async, wait=20"})
    job = answer.json()
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    assert "retry-after" not in answer.headers
    assert job["status"] == "succeeded"
    assert job["output"]["text"] == "hello there"
    assert job["output"]["finish_reason"] == "stop"
    assert job["usage"] == {"input_tokens": 2, "output_tokens": 2}
    assert job["error"] is None
    assert job["queue_ms"] >= 0
    assert job["run_ms"] >= 0
    assert [(run["attempt"], run["provider"], run["outcome"], run["billed"]) for run in job["attempts"]] == [
        (1, "echo", "succeeded", "yes")
    ]


@pytest.mark.parametrize("wait", ["1_0", "x", "-1", ""])
async def test_prefer_wait_that_is_no_number_is_refused(api: httpx2.AsyncClient, wait: str) -> None:
    answer = await api.post("/v1/jobs", json=JOB, headers={"prefer": f"wait={wait}"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "Prefer")


async def test_prefer_wait_that_is_not_met_answers_202(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", json=JOB, headers={"prefer": "wait=0"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


async def test_two_hundred_concurrent_submits_each_run_once(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    answers = await asyncio.gather(*(api.post("/v1/jobs", json=JOB) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {202}
    urls = {answer.headers["location"] for answer in answers}
    assert len(urls) == 200
    jobs = [(await api.get(url, params={"wait": "20"})).json() for url in urls]
    assert {job["status"] for job in jobs} == {"succeeded"}
    assert {len(job["attempts"]) for job in jobs} == {1}


async def test_every_field_is_kept(api: httpx2.AsyncClient) -> None:
    run_at = datetime.now(UTC) + timedelta(hours=1)
    body = {
        "model": "echo/slow",
        "input": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"}], "name": "ada"},
        ],
        "params": {"max_tokens": 5, "delay_seconds": 0.1},
        "metadata": {"a": "b"},
        "priority": "batch",
        "run_at": run_at.isoformat(),
        "timeout_seconds": 30,
        "deadline_seconds": 7200,
        "max_attempts": 3,
    }
    job = (await api.post("/v1/jobs", json=body)).json()
    for name in ("model", "input", "params", "metadata", "priority", "timeout_seconds", "max_attempts"):
        assert job[name] == body[name], name
    assert datetime.fromisoformat(job["run_at"]) == run_at
    left = datetime.fromisoformat(job["deadline_at"]) - datetime.fromisoformat(job["created_at"])
    assert left == timedelta(hours=2)


RETRIES: list[tuple[dict[str, object], dict[str, object]]] = [
    ({}, {"max_attempts": 8, "initial_seconds": 0.05, "max_seconds": 6.0}),
    ({"max_attempts": 3}, {"max_attempts": 3, "initial_seconds": 0.05, "max_seconds": 6.0}),
    ({"retry": {"max_attempts": 2}}, {"max_attempts": 2, "initial_seconds": 0.05, "max_seconds": 6.0}),
    (
        {"max_attempts": 4, "retry": {"initial_seconds": 10, "max_seconds": 60}},
        {"max_attempts": 4, "initial_seconds": 10.0, "max_seconds": 60.0},
    ),
    ({"retry": {"initial_seconds": 30}}, {"max_attempts": 8, "initial_seconds": 30.0, "max_seconds": 30.0}),
]


@pytest.mark.parametrize(("asked", "kept"), RETRIES)
async def test_a_job_says_how_it_is_retried_or_the_settings_do(
    api: httpx2.AsyncClient, asked: dict[str, object], kept: dict[str, object]
) -> None:
    made = (await api.post("/v1/jobs", json=JOB | asked)).json()
    read = (await api.get(f"/v1/jobs/{made['id']}")).json()
    assert made["retry"] == read["retry"] == kept
    assert made["max_attempts"] == kept["max_attempts"]


async def test_a_job_of_the_future_waits(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    waiting = (await api.post("/v1/jobs", json=JOB | {"run_at": later.isoformat()})).json()
    await api.post("/v1/jobs", json=JOB, headers={"prefer": "wait=20"})
    assert (await api.get(f"/v1/jobs/{waiting['id']}")).json()["status"] == "queued"


class TestIdempotencyKey:
    async def test_the_same_key_and_body_is_the_same_job(self, api: httpx2.AsyncClient) -> None:
        first = await api.post("/v1/jobs", json=JOB, headers={"idempotency-key": "k1"})
        # The same content in another order of fields is the same body.
        second = await api.post("/v1/jobs", json=dict(reversed(JOB.items())), headers={"idempotency-key": "k1"})
        assert second.json()["id"] == first.json()["id"]
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"

    async def test_fifty_at_once_make_one_job(self, api: httpx2.AsyncClient) -> None:
        answers = await asyncio.gather(
            *(api.post("/v1/jobs", json=JOB, headers={"idempotency-key": "race"}) for _ in range(50))
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
        assert len((await api.get("/v1/jobs")).json()["data"]) == 1

    async def test_another_body_is_refused(self, api: httpx2.AsyncClient) -> None:
        await api.post("/v1/jobs", json=JOB, headers={"idempotency-key": "k2"})
        answer = await api.post("/v1/jobs", json=JOB | {"input": "other"}, headers={"idempotency-key": "k2"})
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "idempotency_key_reused"
        assert answer.headers["x-should-retry"] == "false"

    async def test_tenants_do_not_share_keys(self, api: httpx2.AsyncClient, other_tenant: Tenant) -> None:
        headers = {"idempotency-key": "shared"}
        mine = await api.post("/v1/jobs", json=JOB, headers=headers)
        theirs = await api.post("/v1/jobs", json=JOB, headers=headers | other_tenant.authorization)
        assert mine.json()["id"] != theirs.json()["id"]

    async def test_the_key_of_a_deleted_job_says_so(self, api: httpx2.AsyncClient) -> None:
        first = await api.post("/v1/jobs", json=JOB, headers={"idempotency-key": "k3"})
        await api.delete(first.headers["location"])
        again = await api.post("/v1/jobs", json=JOB, headers={"idempotency-key": "k3"})
        assert (again.status_code, again.json()["error"]["code"]) == (410, "gone")

    async def test_an_unusable_key_is_refused(self, api: httpx2.AsyncClient) -> None:
        for key in ("", "with space", "x" * 256):
            answer = await api.post("/v1/jobs", json=JOB, headers={"idempotency-key": key})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key"), key
