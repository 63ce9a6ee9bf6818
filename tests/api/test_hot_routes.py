"""The short way to the two busiest routes answers as FastAPI's own way does, whatever is asked of it."""

import inspect
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from api.hot_routes import HotRoutes
from api.http.admission import Admission
from api.http.middleware import RequestMiddleware
from api.jobs import routes as jobs
from api.main import Api, create_app
from core.runtime import ApiRuntime, open_api
from tests.support.tenants import Tenant

UNKNOWN = "/v1/jobs/job_00000000000070008000000000000000"
GOOD = {"model": "echo/echo", "input": "hello", "metadata": {"a": "b"}, "params": {"temperature": 1}}
# What differs from one answer to the next.
FRESH = ("x-request-id", "location", "etag")


def served(app: Api, way: ASGIApp, runtime: ApiRuntime) -> ASGIApp:
    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        state = {"runtime": runtime, "admission": Admission(runtime.settings.api)}
        await way({**scope, "app": app, "state": state}, receive, send)

    return call


@pytest.fixture
async def ways(api_runtime: ApiRuntime, tenant: Tenant) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """A client of the whole application, and one of the same application without the short way."""
    app = create_app(lambda: open_api(api_runtime.settings))
    assert isinstance(app, Api)
    hot = app.build_middleware_stack()
    assert isinstance(hot, RequestMiddleware)
    assert isinstance(hot.app, HotRoutes)
    cold = RequestMiddleware(hot.app.app)
    clients = [
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(served(app, way, api_runtime), raise_app_exceptions=False),
            base_url="http://inferd",
            headers=tenant.authorization,
        )
        for way in (hot, cold)
    ]
    yield clients
    for client in clients:
        await client.aclose()


def seen(answer: httpx2.Response) -> tuple[int, Mapping[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in FRESH}
    body = answer.json() if answer.content else None
    if isinstance(body, dict) and "id" in body:
        headers.pop("content-length")
        body = {name: value for name, value in body.items() if name not in ("id", "created_at", "run_at", "urls")}
    return answer.status_code, headers, body


SUBMITS: dict[str, dict[str, Any]] = {
    "good": {"json": GOOD},
    "waits": {"json": GOOD, "headers": {"prefer": "respond-async, wait=0"}},
    "wait is no number": {"json": GOOD, "headers": {"prefer": "wait=soon"}},
    "no key": {"json": GOOD, "headers": {"authorization": ""}},
    "another's key": {"json": GOOD, "headers": {"authorization": "Bearer inf_live_x"}},
    "no JSON": {"content": b"{"},
    "a list": {"json": []},
    "a NUL": {"content": b'{"model": "echo/echo", "input": "\\u0000"}'},
    "an unknown field": {"json": {**GOOD, "modle": "x"}},
    "an unknown model": {"json": {**GOOD, "model": "echo/ecko"}},
    "a bad idempotency key": {"json": GOOD, "headers": {"idempotency-key": "a b"}},
    "too large": {"content": b" " * 1_100_000},
    "announced too large": {"content": b"{}", "headers": {"content-length": "99999999"}},
    "a NUL in the query": {"json": GOOD, "params": {"a": "\x00"}},
}


@pytest.mark.parametrize("name", SUBMITS)
async def test_submit(ways: list[httpx2.AsyncClient], name: str) -> None:
    hot, cold = [await client.post("/v1/jobs", **SUBMITS[name]) for client in ways]

    assert seen(hot) == seen(cold)


async def test_submit_again_under_the_same_key(ways: list[httpx2.AsyncClient]) -> None:
    answers = [
        await client.post("/v1/jobs", json=body, headers={"idempotency-key": "k"})
        for client in ways
        for body in (GOOD, {**GOOD, "input": "other"})
    ]

    assert [answer.status_code for answer in answers] == [202, 422, 202, 422]
    assert answers[0].json()["id"] == answers[2].json()["id"]
    assert answers[2].headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("query", ["", "?wait=0", "?wait=0.05", "?wait=soon", "?wait=1&wait=0", "?other=1", "?wait="])
async def test_get(ways: list[httpx2.AsyncClient], query: str) -> None:
    job = (await ways[0].post("/v1/jobs", json=GOOD)).json()["id"]

    hot, cold = [await client.get(f"/v1/jobs/{job}{query}") for client in ways]

    assert seen(hot) == seen(cold)
    assert hot.headers.get("etag") == cold.headers.get("etag")


async def test_get_of_what_is_not_there(ways: list[httpx2.AsyncClient], other_tenant: Tenant) -> None:
    job = (await ways[0].post("/v1/jobs", json=GOOD)).json()["id"]
    for path in (UNKNOWN, UNKNOWN[:-1] + "g", UNKNOWN[:-1], f"{UNKNOWN}/", f"/v1/jobs/{job.upper()}"):
        hot, cold = [await client.get(path) for client in ways]
        assert seen(hot) == seen(cold)
        assert hot.status_code == 404
    for client in ways:
        assert (await client.get(f"/v1/jobs/{job}", headers=other_tenant.authorization)).status_code == 404


async def test_get_of_what_the_caller_knows_already(ways: list[httpx2.AsyncClient]) -> None:
    made = await ways[0].post("/v1/jobs", json=GOOD)

    for client in ways:
        answer = await client.get(made.headers["location"], headers={"if-none-match": made.headers["etag"]})
        assert (answer.status_code, answer.content) == (304, b"")


async def test_other_methods_go_the_usual_way(ways: list[httpx2.AsyncClient]) -> None:
    for method, path in (("PUT", "/v1/jobs"), ("POST", UNKNOWN), ("GET", "/v1/jobs"), ("GET", "/v1/models")):
        hot, cold = [await client.request(method, path) for client in ways]
        assert seen(hot) == seen(cold)


def test_no_argument_is_forgotten() -> None:
    """Whoever adds an argument to one of the two routes must read it in api/hot_routes.py too."""
    assert list(inspect.signature(jobs.submit).parameters) == [
        "request", "runtime", "admission", "caller", "body", "request_id", "prefer", "idempotency_key",
    ]  # fmt: skip
    assert list(inspect.signature(jobs.get).parameters) == [
        "request", "runtime", "admission", "caller", "job_id", "wait", "if_none_match",
    ]  # fmt: skip
