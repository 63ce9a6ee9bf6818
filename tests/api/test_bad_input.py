"""Whatever is sent to POST /v1/jobs gets a clear error in one shape, never a 500, and nothing is half-stored."""

import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from tests.conftest import OwnerPool
from tests.support.tenants import Tenant

GOOD: dict[str, Any] = {"model": "echo/echo", "input": "hi"}


def changed(**fields: object) -> bytes:
    return json.dumps(GOOD | fields).encode()


CASES: dict[str, tuple[bytes, int, str, str | None]] = {
    "2 MB prompt": (changed(input="x" * 2_000_000), 413, "payload_too_large", None),
    "NUL in the prompt": (changed(input="a\x00b"), 400, "invalid_json", None),
    "lone surrogate in the prompt": (rb'{"model": "echo/echo", "input": "\ud800"}', 400, "invalid_json", None),
    "not UTF-8": (b'{"model": "echo/echo", "input": "\xff"}', 400, "invalid_json", None),
    "NaN": (b'{"model": "echo/echo", "input": "hi", "params": {"temperature": NaN}}', 400, "invalid_json", None),
    "an integer beyond 64 bits": (changed(params={"seed": 2**70}), 400, "invalid_json", None),
    "nested a hundred deep": (b'{"params": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "invalid_json", None),
    "no JSON": (b"model=echo", 400, "invalid_json", None),
    "empty": (b"", 400, "invalid_json", None),
    "a list": (b"[]", 400, "invalid_json", None),
    "an unknown field": (changed(modle="x"), 422, "invalid_parameter", "modle"),
    "no model": (b'{"input": "hi"}', 422, "invalid_parameter", "model"),
    "an empty prompt": (changed(input=""), 422, "invalid_parameter", None),
    "no messages": (changed(input=[]), 422, "invalid_parameter", None),
    "a number as prompt": (changed(input=5), 422, "invalid_parameter", None),
    "an unknown model": (changed(model="echo/eco"), 422, "model_not_found", "model"),
    "an unknown provider": (changed(model="nowhere/x"), 422, "model_not_found", "model"),
    "a model without a provider": (changed(model="gpt-5"), 422, "model_not_found", "model"),
    "an unknown param": (changed(params={"temprature": 1}), 422, "invalid_parameter", "params.temprature"),
    "an unknown priority": (changed(priority="high"), 422, "invalid_parameter", "priority"),
    "a string as number": (changed(timeout_seconds="5"), 422, "invalid_parameter", "timeout_seconds"),
    "no time at all": (changed(timeout_seconds=0), 422, "invalid_parameter", "timeout_seconds"),
    "a time without an offset": (changed(run_at="2030-01-01T00:00:00"), 422, "invalid_parameter", "run_at"),
    "a time too far ahead": (changed(run_at="2090-01-01T00:00:00Z"), 422, "invalid_parameter", "run_at"),
    "a start behind the deadline": (
        changed(run_at="2026-12-31T00:00:00Z", deadline_seconds=1),
        422,
        "invalid_parameter",
        "run_at",
    ),
    "no attempts": (changed(max_attempts=0), 422, "invalid_parameter", "max_attempts"),
    "seventeen metadata": (changed(metadata={str(n): "" for n in range(17)}), 422, "invalid_parameter", "metadata"),
    "a number in metadata": (changed(metadata={"n": 1}), 422, "invalid_parameter", "metadata.n"),
    "an unknown event": (
        changed(webhook={"url": "https://example.com", "events": ["job.done"]}),
        422,
        "invalid_parameter",
        "webhook.events.0",
    ),
    "attempts twice": (
        changed(max_attempts=3, retry={"max_attempts": 3}),
        422,
        "invalid_parameter",
        "retry.max_attempts",
    ),
    "waits that shrink": (
        changed(retry={"initial_seconds": 5, "max_seconds": 2}),
        422,
        "invalid_parameter",
        "retry.initial_seconds",
    ),
    "no wait": (changed(retry={"initial_seconds": 0}), 422, "invalid_parameter", "retry.initial_seconds"),
    "a retry by another name": (changed(retry={"attempts": 3}), 422, "invalid_parameter", "retry.attempts"),
    "a webhook over http": (
        changed(webhook={"url": "http://example.com/hook"}),
        422,
        "invalid_webhook_url",
        "webhook.url",
    ),
    "a webhook to this machine": (
        changed(webhook={"url": "https://127.0.0.1/hook"}),
        422,
        "invalid_webhook_url",
        "webhook.url",
    ),
}


@pytest.mark.parametrize(("body", "status", "code", "param"), CASES.values(), ids=CASES)
async def test_refused(api: httpx2.AsyncClient, body: bytes, status: int, code: str, param: str | None) -> None:
    answer = await api.post("/v1/jobs", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert set(error) == {"message", "type", "param", "code"}
    if param is not None:
        assert error["param"] == param
    assert answer.headers["x-request-id"].startswith("req_")
    assert (await api.get("/v1/jobs")).json()["data"] == []


async def test_the_nearest_names_are_given(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", content=changed(model="echo/eco"))
    assert "echo/echo" in answer.json()["error"]["message"]
    answer = await api.post("/v1/jobs", content=changed(params={"temprature": 1}))
    assert "temperature" in answer.json()["error"]["message"]


async def test_a_body_sent_in_chunks_is_bounded_too(api: httpx2.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(64):
            yield b" " * 65_536

    answer = await api.post("/v1/jobs", content=endless())
    assert answer.status_code == 413


async def test_the_value_is_not_repeated_in_the_error(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", content=changed(timeout_seconds="hunter2"))
    assert "hunter2" not in answer.text


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "model", "input", "params", "metadata", "priority", "run_at", "timeout_seconds", "deadline_seconds",
    "max_attempts", "retry", "webhook",
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(field=strategies.sampled_from(FIELDS), value=JSON)
async def test_no_value_anywhere_makes_a_500(api: httpx2.AsyncClient, field: str, value: object) -> None:
    answer = await api.post("/v1/jobs", content=changed(**{field: value}))
    assert answer.status_code in {202, 400, 422}, answer.text


async def test_nothing_is_half_stored(api: httpx2.AsyncClient, owner: OwnerPool, tenant: Tenant) -> None:
    for body, *_ in CASES.values():
        await api.post("/v1/jobs", content=body, headers={"idempotency-key": "half"})
    for table in ("jobs", "idempotency", "attempts", "results", "deliveries"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", tenant.id) == 0, table
