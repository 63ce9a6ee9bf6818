"""GET /v1/jobs/{id}: polling, waiting, ETags, and whose job it is."""

import asyncio
from contextlib import AsyncExitStack

import httpx2
import pytest
from sqlalchemy.pool import QueuePool

from tests.conftest import OwnerPool
from tests.support.processes import RunningApi, RunningWorker
from tests.support.tenants import Tenant

JOB = {"model": "echo/echo", "input": "hi"}


async def submit(api: httpx2.AsyncClient, **fields: object) -> str:
    answer = await api.post("/v1/jobs", json=JOB | fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def test_a_wait_ends_when_the_job_does(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job_id = await submit(api, model="echo/slow", params={"delay_seconds": 0.3})
    job = (await api.get(f"/v1/jobs/{job_id}", params={"wait": "20"})).json()
    assert job["status"] == "succeeded"


async def test_a_hundred_waits_hold_no_database_connection(
    api: httpx2.AsyncClient, shared_api: RunningApi, worker: RunningWorker
) -> None:
    job_id = await submit(api, model="echo/slow", params={"delay_seconds": 1.0})
    waits = [asyncio.create_task(api.get(f"/v1/jobs/{job_id}", params={"wait": "20"})) for _ in range(100)]
    # The pool has four connections; were one held for each wait, this would have to wait too.
    assert (await api.get(f"/v1/jobs/{job_id}")).json()["status"] in {"queued", "running"}
    assert {answer.json()["status"] for answer in await asyncio.gather(*waits)} == {"succeeded"}


async def test_a_wait_that_is_no_number_is_refused(api: httpx2.AsyncClient) -> None:
    job_id = await submit(api)
    for wait in ("-1", "nan", "x", "", "inf", "1_0", " 1", "1e999"):
        answer = await api.get(f"/v1/jobs/{job_id}", params={"wait": wait})
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "wait"), wait


async def test_an_etag_holds_until_the_job_changes(api: httpx2.AsyncClient) -> None:
    job_id = await submit(api)
    etag = (await api.get(f"/v1/jobs/{job_id}")).headers["etag"]
    same = await api.get(f"/v1/jobs/{job_id}", headers={"if-none-match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    await api.post(f"/v1/jobs/{job_id}/cancel")
    assert (await api.get(f"/v1/jobs/{job_id}", headers={"if-none-match": etag})).status_code == 200


async def test_an_etag_changes_with_the_outcome_of_a_delivery(api: httpx2.AsyncClient, owner: OwnerPool) -> None:
    job_id = await submit(api, webhook={"url": "https://example.com/", "events": ["job.cancelled"]})
    await api.post(f"/v1/jobs/{job_id}/cancel")
    etag = (await api.get(f"/v1/jobs/{job_id}")).headers["etag"]
    assert (await api.get(f"/v1/jobs/{job_id}", headers={"if-none-match": etag})).status_code == 304
    await owner.execute("UPDATE deliveries SET last_status = 500, last_error = 'status'")
    assert (await api.get(f"/v1/jobs/{job_id}", headers={"if-none-match": etag})).status_code == 200


async def test_a_failed_job_says_what_happened_and_what_to_do(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job_id = await submit(api, model="echo/fail")
    job = (await api.get(f"/v1/jobs/{job_id}", params={"wait": "20"})).json()
    assert job["status"] == "failed"
    assert job["error"]["code"] == "provider_invalid_request"
    assert job["error"]["next_step"]
    assert job["output"] is None
    attempt = job["attempts"][0]
    assert (attempt["outcome"], attempt["http_status"], attempt["error"]["class"]) == ("failed", 400, "invalid")


async def test_every_attempt_is_told(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job_id = await submit(api, model="echo/flaky")
    job = (await api.get(f"/v1/jobs/{job_id}", params={"wait": "30"})).json()
    assert job["status"] == "succeeded"
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["retried", "retried", "succeeded"]
    assert [attempt["http_status"] for attempt in job["attempts"]] == [500, 500, None]
    assert all(attempt["wait_seconds"] is not None for attempt in job["attempts"][:2])
    assert job["attempts_used"] == 3


async def test_somebody_elses_job_is_not_found(api: httpx2.AsyncClient, other_tenant: Tenant) -> None:
    job_id = await submit(api)
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        answer = await api.request(method, f"/v1/jobs/{job_id}{path}", headers=other_tenant.authorization)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), (method, path)
    assert (await api.get(f"/v1/jobs/{job_id}")).json()["status"] == "queued"


async def test_when_every_session_is_in_use_the_caller_is_told_to_come_again(
    api: httpx2.AsyncClient, shared_api: RunningApi, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = shared_api.runtime.database.engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.timeout() <= 5
    monkeypatch.setattr(pool, "_timeout", 0.05)
    for _ in range(pool.size() + pool._max_overflow):
        await stack.enter_async_context(shared_api.runtime.database.engine.connect())
    answer = await api.get("/v1/jobs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_an_id_that_is_none_is_not_found(api: httpx2.AsyncClient) -> None:
    for job_id in ("job_", "job_xyz", "job_" + "0" * 32, "ten_" + "0" * 32, "job_" + "A" * 32, "%00", "💥"):
        answer = await api.get(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), job_id


class TestList:
    async def test_pages_are_newest_first_and_whole(self, api: httpx2.AsyncClient) -> None:
        ids = [await submit(api, metadata={"n": str(n)}) for n in range(7)]
        seen: list[str] = []
        after: str | None = None
        while True:
            page = (await api.get("/v1/jobs", params={"limit": 3} | ({"after": after} if after else {}))).json()
            seen += [job["id"] for job in page["data"]]
            assert page["has_more"] == (page["next_cursor"] is not None)
            if not page["has_more"]:
                break
            after = page["next_cursor"]
            # A job that comes in between moves nothing.
            await submit(api)
        assert seen == ids[::-1]

    async def test_every_filter_narrows(self, api: httpx2.AsyncClient) -> None:
        first = await submit(api, metadata={"kind": "a", "n": "1"})
        second = await submit(api, metadata={"kind": "a"}, model="echo/slow")
        await api.post(f"/v1/jobs/{first}/cancel")
        created = (await api.get(f"/v1/jobs/{second}")).json()["created_at"]

        async def found(**params: str | list[str]) -> set[str]:
            answer = await api.get("/v1/jobs", params=params)
            assert answer.status_code == 200, answer.text
            return {job["id"] for job in answer.json()["data"]}

        assert await found(status="cancelled") == {first}
        assert await found(status=["cancelled", "queued"]) == {first, second}
        assert await found(model="echo/slow") == {second}
        assert await found(created_after=created) == {second}
        assert await found(created_before=created) == {first}
        assert await found(**{"metadata[kind]": "a"}) == {first, second}
        assert await found(**{"metadata[kind]": "a", "metadata[n]": "1"}) == {first}
        assert await found(**{"metadata[kind]": "b"}) == set()

    async def test_a_line_has_neither_input_nor_output(self, api: httpx2.AsyncClient) -> None:
        await submit(api)
        line = (await api.get("/v1/jobs")).json()["data"][0]
        assert not {"input", "output", "attempts", "params"} & line.keys()
        assert line["status"] == "queued"

    async def test_a_wrong_filter_is_refused_by_name(self, api: httpx2.AsyncClient) -> None:
        wrong = {
            "state": "queued",
            "status": "done",
            "limit": "0",
            "after": "x",
            "created_after": "yesterday",
            "created_before": "2026-01-01T00:00:00",
            "metadata": "x",
        }
        for name, value in wrong.items():
            answer = await api.get("/v1/jobs", params={name: value})
            assert answer.status_code == 422, name
            assert answer.json()["error"]["param"].startswith(name), name

    async def test_a_nul_in_a_filter_is_refused(self, api: httpx2.AsyncClient) -> None:
        for query in ("model=%00", "metadata[%00]=x", "metadata[x]=%00"):
            answer = await api.get(f"/v1/jobs?{query}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request"), query
