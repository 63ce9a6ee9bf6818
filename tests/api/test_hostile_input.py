"""Input that once made a 500, a 503 or a stalled server: each gets its own clear answer, and harms nobody else."""

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest

from tests.conftest import OwnerPool
from tests.support.tenants import Tenant

JOB: dict[str, Any] = {"model": "echo/echo", "input": "hi"}
BEFORE_ALL_TIMES = "0001-01-01T00:00:00+14:00"
AFTER_ALL_TIMES = "9999-12-31T23:59:59-12:00"
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def saying(*parts: object) -> dict[str, Any]:
    return JOB | {"input": [{"role": "user", "content": list(parts)}]}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


class TestTimes:
    @pytest.mark.parametrize("time_", [BEFORE_ALL_TIMES, AFTER_ALL_TIMES, "9999-12-31T00:00:00Z"])
    async def test_one_that_no_clock_shows_is_refused_by_name(self, api: httpx2.AsyncClient, time_: str) -> None:
        asked = [
            ("run_at", await api.post("/v1/jobs", json=JOB | {"run_at": time_})),
            ("created_after", await api.get("/v1/jobs", params={"created_after": time_})),
            ("created_before", await api.get("/v1/jobs", params={"created_before": time_})),
            ("created_after", await api.post("/v1/jobs/cancel", json={"created_after": time_})),
            ("created_before", await api.post("/v1/jobs/retry", json={"created_before": time_})),
        ]
        for param, answer in asked:
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["param"]) == (422, "invalid_parameter", param)

    async def test_a_recovery_and_the_deliveries_of_an_endpoint_too(self, api: httpx2.AsyncClient) -> None:
        made = await api.post(
            "/v1/webhook_endpoints",
            json={"name": "n", "url": "https://example.com/", "event_types": ["job.succeeded"]},
        )
        path = f"/v1/webhook_endpoints/{made.json()['id']}"
        for since, until, param in (
            ("9999-12-01T00:00:00Z", "9999-12-31T00:00:00Z", "since"),
            ("2026-12-01T00:00:00Z", "9999-12-31T00:00:00Z", "until"),
            (BEFORE_ALL_TIMES, "2026-01-01T00:00:00Z", "since"),
        ):
            answer = await api.post(f"{path}/recover", json={"since": since, "until": until})
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)
        for name in ("created_after", "created_before"):
            answer = await api.get(f"{path}/deliveries", params={name: BEFORE_ALL_TIMES})
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, name)

    async def test_a_line_of_many_is_refused_alone(
        self, api: httpx2.AsyncClient, owner: OwnerPool, tenant: Tenant
    ) -> None:
        lines = [JOB, JOB | {"run_at": BEFORE_ALL_TIMES}, JOB | {"run_at": AFTER_ALL_TIMES}, JOB]
        answer = await api.post("/v1/jobs/bulk", json={"jobs": lines})
        body = answer.json()
        assert (answer.status_code, body["accepted"], body["refused"]) == (200, 2, 2)
        assert [line["error"] and line["error"]["param"] for line in body["data"]] == [None, "run_at", "run_at", None]
        assert await owner.fetchval("SELECT count(*) FROM jobs WHERE tenant_id = $1", tenant.id) == 2


class TestImages:
    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "https://example.com/cat.png",
            "data:text/html;base64,PGI+",
            "data:image/png;base64,not base64!",
            "DATA:,",
        ],
    )
    async def test_a_provider_is_never_told_to_fetch(self, api: httpx2.AsyncClient, url: str) -> None:
        answer = await api.post("/v1/jobs", json=saying({"type": "text", "text": "what?"}, image(url)))
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (422, "image_url_not_supported")
        assert error["param"] == "input.0.content.1.image_url.url"
        assert "data:" in error["message"]
        assert url not in error["message"]

    async def test_one_that_is_sent_along_is_taken(self, api: httpx2.AsyncClient) -> None:
        assert (await api.post("/v1/jobs", json=saying(image(PIXEL)))).status_code == 202


async def test_a_last_event_id_of_any_length_is_read(api: httpx2.AsyncClient) -> None:
    job = (await api.post("/v1/jobs", json=JOB)).json()["id"]
    await api.post(f"/v1/jobs/{job}/cancel")
    for seen in ("9" * 5000, "٣" * 3, "-1", ""):
        answer = await api.get(f"/v1/jobs/{job}/events", headers={b"last-event-id": seen.encode()})
        assert (answer.status_code, answer.text.count("event: job.cancelled")) == (200, 1)


@pytest.mark.parametrize(
    "body",
    [
        JOB | {"model": "ab" * 8000},
        JOB | {"model": "openai/" + "ab" * 8000},
        JOB | {"params": {"ab" * 8000: 1}},
    ],
    ids=["model", "model of a provider", "param"],
)
async def test_a_long_name_holds_nobody_up(api: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    started = time.process_time()
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    # The names that are known differ from one installation to the next; each may cost a little.
    assert time.process_time() - started < 0.3


class Holds:
    """The most CPU time that the loop, which the API shares with the test, was held for at once."""

    longest = 0.0

    async def watch(self) -> None:
        while True:
            began = time.process_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.process_time() - began)


@pytest.mark.parametrize(
    "lines",
    [
        [JOB | {"params": {"stop": ["aaaa"] * 190}}] * 1000,
        [JOB | {f"field{number}": 1 for number in range(9_000)}] * 9,
        [JOB | {"input": [{"role": "user", "content": [{"type": "text", "foo": 5}] * 3_500}]}] * 9,
        [JOB | {"metadata": {f"key{number}": 1 for number in range(9_000)}}] * 9,
    ],
    ids=["good", "unknown fields", "wrong parts", "metadata"],
)
async def test_many_lines_hold_nobody_up(api: httpx2.AsyncClient, lines: list[dict[str, Any]]) -> None:
    body, holds = json.dumps({"jobs": lines}).encode(), Holds()
    watching = asyncio.create_task(holds.watch())
    answer = await api.post("/v1/jobs/bulk", content=body)
    watching.cancel()
    assert (answer.status_code, len(answer.json()["data"])) == (200, len(lines))
    assert holds.longest < 0.2


class TestMessages:
    @pytest.mark.parametrize(
        ("path", "body", "param", "said"),
        [
            (
                "/v1/jobs",
                {"model": "echo/echo", "messages": [{"role": "user", "content": "hi"}]},
                "messages",
                "messages: there is no such field (use `input`); input: is required.",
            ),
            (
                "/v1/jobs",
                JOB | {"temperature": 1},
                "temperature",
                "temperature: there is no such field (use `params.temperature`).",
            ),
            ("/v1/jobs", JOB | {"webhook": "https://example.com"}, "webhook", "webhook: must be an object."),
            ("/v1/jobs", JOB | {"input": 5}, "input", "input: must be a string or a list."),
            ("/v1/jobs", JOB | {"input": ""}, "input", "input: must have at least 1 character."),
            ("/v1/jobs", JOB | {"input": []}, "input", "input: must have at least 1 item."),
            (
                "/v1/jobs",
                JOB | {"input": [{"role": "robot", "content": "x"}]},
                "input.0.role",
                "input.0.role: must be 'system', 'developer', 'user', 'assistant' or 'tool'.",
            ),
            (
                "/v1/jobs",
                saying({"type": "audio"}),
                "input.0.content.0",
                "input.0.content.0: its `type` must be one of 'text', 'image_url'.",
            ),
            ("/v1/jobs/cancel", {}, None, 'Name the jobs by a filter, or send {"all": true}.'),
            (
                "/v1/jobs",
                {"a": 1, "b": 2, "c": 3, "d": 4},
                "a",
                (
                    "a: there is no such field; b: there is no such field; c: there is no such field; "
                    "d: there is no such field; model: is required; input: is required."
                ),
            ),
        ],
    )  # fmt: skip
    async def test_they_name_the_mistake_in_plain_words(
        self, api: httpx2.AsyncClient, path: str, body: dict[str, Any], param: str | None, said: str
    ) -> None:
        answer = await api.post(path, json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["message"]) == (422, param, said)


async def test_a_time_for_an_attempt_has_the_operators_bound(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", content=json.dumps(JOB | {"timeout_seconds": 3601}))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (422, "timeout_seconds")
    assert "3600" in error["message"]
    assert (await api.post("/v1/jobs", json=JOB | {"timeout_seconds": 3600})).status_code == 202


@pytest.mark.parametrize(
    "query",
    [
        "&".join(f"metadata[k{number}]=v" for number in range(17)),
        f"metadata[{'k' * 65}]=v",
        f"metadata[k]={'v' * 513}",
    ],
    ids=["more pairs than a job has", "a longer key", "a longer value"],
)
async def test_a_filter_that_no_job_can_match_is_not_asked_of_postgres(api: httpx2.AsyncClient, query: str) -> None:
    """Each pair is a join: 200 of them kept PostgreSQL busy until the statement's timeout."""
    answer = await api.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["param"].startswith("metadata")
    most = "&".join(f"metadata[k{number}]=v" for number in range(16))
    assert (await api.get(f"/v1/jobs?{most}")).status_code == 200
