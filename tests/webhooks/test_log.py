"""The log of attempts, read by its owner: lists, one delivery with its attempts, redelivery, recovery of a range."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.conftest import OwnerPool
from tests.support.processes import RunningApi, RunningWorker
from tests.support.receiver import receive
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.webhooks.steps import deliveries_in, detail, register, run_job

pytestmark = pytest.mark.usefixtures("worker")


async def test_each_attempt_is_a_line_of_the_log(api: httpx2.AsyncClient) -> None:
    answers = [web.Response(status=500, text="not\x00now"), web.Response(status=200, text="ok\x07 gr\u00fc\u00dfe")]
    async with receive("", lambda n: answers[min(n, 2) - 1]) as receiver:
        endpoint = await register(api, receiver)
        job = await run_job(api)
        (listed,) = await deliveries_in(api, endpoint, "delivered", 1)
    found = await detail(api, listed["id"])
    assert {key: found[key] for key in listed} == listed
    assert (found["webhook_id"], found["job_id"]) == (receiver.received[0].id, job["id"])
    assert (found["webhook_endpoint_id"], found["event"]) == (endpoint["id"], "job.succeeded")
    assert found["payload"] == receiver.received[0].event

    first, second = found["log"]
    assert [(each["attempt"], each["trigger"]) for each in found["log"]] == [(1, "scheduled"), (2, "scheduled")]
    assert (first["http_status"], first["error"], first["next_attempt_at"] is None) == (500, "status", False)
    # What an address that is not public refused with is not shown, and what is shown is printable.
    assert first["excerpt"] is None
    assert (second["http_status"], second["error"], second["excerpt"]) == (200, None, "ok\\x07 gr\u00fc\u00dfe")
    assert first["timing"]["connect_ms"] is not None
    assert first["timing"]["total_ms"] >= first["timing"]["first_byte_ms"] > 0


async def test_a_jobs_deliveries_are_those_to_its_own_url_and_to_endpoints(
    api: httpx2.AsyncClient, tenant: Tenant
) -> None:
    async with receive("") as registered, receive(tenant.webhook_secret) as own:
        endpoint = await register(api, registered)
        job = await run_job(api, webhook={"url": own.url})
        await deliveries_in(api, endpoint, "delivered", 1)
        await eventually(lambda: own.received or None)
        page = (await api.get(f"/v1/jobs/{job['id']}/deliveries")).json()
    assert {each["webhook_endpoint_id"] for each in page["data"]} == {endpoint["id"], None}
    assert {each["url"] for each in page["data"]} == {registered.url, own.url}
    # One event for two recipients: the same id.
    assert len({each["webhook_id"] for each in page["data"]}) == 1
    path = f"/v1/jobs/{job['id']}/deliveries"
    first = (await api.get(path, params={"limit": 1})).json()
    second = (await api.get(path, params={"limit": 1, "after": first["next_cursor"]})).json()
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)
    assert first["data"] + second["data"] == page["data"]
    assert (await api.get(path, params={"status": "exhausted"})).json()["data"] == []
    quiet = (await api.post("/v1/jobs", json={"model": "echo/slow", "input": "hi"})).json()
    assert (await api.get(f"/v1/jobs/{quiet['id']}/deliveries")).json()["data"] == []
    assert (await api.get(f"/v1/jobs/job_{'0' * 32}/deliveries")).status_code == 404


async def test_the_list_is_paged_and_narrowed(api: httpx2.AsyncClient) -> None:
    async with receive("") as receiver:
        endpoint = await register(api, receiver)
        for _ in range(3):
            await run_job(api)
        await run_job(api, model="echo/fail")
        await deliveries_in(api, endpoint, "delivered", 4)
    path = f"/v1/webhook_endpoints/{endpoint['id']}/deliveries"
    first = (await api.get(path, params={"limit": 3})).json()
    second = (await api.get(path, params={"limit": 3, "after": first["next_cursor"]})).json()
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)
    ids = [each["id"] for each in first["data"] + second["data"]]
    assert (len(set(ids)), ids) == (4, sorted(ids, reverse=True))
    assert len((await api.get(path, params={"event_type": "job.failed"})).json()["data"]) == 1
    assert (await api.get(path, params={"status": "pending"})).json()["data"] == []
    assert (await api.get(path, params={"created_after": "2999-01-01T00:00:00Z"})).json()["data"] == []
    assert (await api.get(path, params={"status": "lost"})).status_code == 422
    assert (await api.get(path, params={"nonsense": "1"})).status_code == 422
    assert (await api.get(path, params={"after": "dlv_1"})).status_code == 422


async def test_a_redelivery_keeps_the_id_and_uses_up_no_attempt(api: httpx2.AsyncClient, owner: OwnerPool) -> None:
    async with receive("", lambda _: web.Response(status=503)) as receiver:
        endpoint = await register(api, receiver)
        await run_job(api)
        (exhausted,) = await deliveries_in(api, endpoint, "exhausted", 1)
        assert exhausted["attempts"] == 10
        # By hand, it fails; then its schedule begins anew, and the second of that is well.
        receiver.answer = lambda n: web.Response(status=204 if n == 12 else 503)
        answer = await api.post(f"/v1/webhook_deliveries/{exhausted['id']}/redeliver")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        await deliveries_in(api, endpoint, "delivered", 1)
        receiver.answer = lambda _: web.Response(status=204)
        again = await api.post(f"/v1/webhook_deliveries/{exhausted['id']}/redeliver")
        assert again.status_code == 202
        await eventually(lambda: len(receiver.received) == 13)
    found = await eventually(lambda: _with_lines(api, exhausted["id"], 13))
    assert [each["trigger"] for each in found["log"]] == [*["scheduled"] * 10, "manual", "scheduled", "manual"]
    assert {each.id for each in receiver.received} == {found["webhook_id"]}
    assert await owner.fetchval("SELECT slots_used FROM deliveries") == 0


async def _with_lines(api: httpx2.AsyncClient, delivery_id: str, count: int) -> dict[str, Any] | None:
    found = await detail(api, delivery_id)
    return found if len(found["log"]) == count else None


async def test_what_is_being_sent_or_disabled_is_not_redelivered(api: httpx2.AsyncClient) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request) -> web.Response:
        arrived.set()
        await go_on.wait()
        return web.Response()

    async with receive("") as receiver:
        receiver.hold = hold
        endpoint = await register(api, receiver)
        await run_job(api)
        await arrived.wait()
        (sending,) = await deliveries_in(api, endpoint, "pending", 1)
        refused = await api.post(f"/v1/webhook_deliveries/{sending['id']}/redeliver")
        assert (refused.status_code, "right now" in refused.json()["error"]["message"]) == (409, True)
        go_on.set()
        await deliveries_in(api, endpoint, "delivered", 1)
        await api.post(f"/v1/webhook_endpoints/{endpoint['id']}/disable")
        refused = await api.post(f"/v1/webhook_deliveries/{sending['id']}/redeliver")
        assert (refused.status_code, "disabled" in refused.json()["error"]["message"]) == (409, True)


async def test_a_range_is_recovered_in_the_background(api: httpx2.AsyncClient, owner: OwnerPool) -> None:
    async with receive("", lambda _: web.Response(status=500)) as receiver:
        endpoint = await register(api, receiver)
        for _ in range(5):
            await run_job(api)
        exhausted = await deliveries_in(api, endpoint, "exhausted", 5)
        oldest = exhausted[-1]
        await owner.execute("UPDATE deliveries SET created_at = now() - interval '1 day' WHERE id = $1",
                            oldest["id"].removeprefix("dlv_"))  # fmt: skip
        receiver.answer = lambda _: web.Response(status=204)
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        path = f"/v1/webhook_endpoints/{endpoint['id']}/recover"
        started = await api.post(path, json={"since": since, "status": ["exhausted"]})
        assert started.status_code == 202, started.text
        assert (started.json()["total"], started.json()["status"]) == (4, "running")
        progress = started.headers["location"]

        async def completed() -> dict[str, Any] | None:
            recovery = dict((await api.get(progress)).json())
            return recovery if recovery["status"] == "completed" else None

        done = await eventually(completed, what="the recovery is completed")
        assert (done["requeued"], done["total"]) == (4, 4)
        assert done["finished_at"] is not None
        await deliveries_in(api, endpoint, "delivered", 4)
        (left,) = await deliveries_in(api, endpoint, "exhausted", 1)
    assert left["id"] == oldest["id"]
    # Each under the id that it had.
    assert len({each.id for each in receiver.received}) == 5
    assert (await detail(api, exhausted[0]["id"]))["log"][-1]["trigger"] == "recovery"


async def test_a_recovery_needs_a_range_and_an_enabled_endpoint(api: httpx2.AsyncClient) -> None:
    async with receive("") as receiver:
        endpoint = await register(api, receiver)
    path = f"/v1/webhook_endpoints/{endpoint['id']}/recover"
    for body in (
        {},
        {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"since": "2020-01-01T00:00:00Z"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "status": ["lost"]},
    ):
        assert (await api.post(path, json=body)).status_code == 422, body
    await api.post(f"/v1/webhook_endpoints/{endpoint['id']}/disable")
    day = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    assert (await api.post(path, json=day)).status_code == 409
    assert (await api.get(f"/v1/webhook_recoveries/rcv_{'0' * 32}")).status_code == 404
    assert (await api.get("/v1/webhook_recoveries/1")).status_code == 404


async def test_nobody_else_can_see_or_touch_any_of_it(
    api: httpx2.AsyncClient, running: RunningApi, other_tenant: Tenant, worker: RunningWorker
) -> None:
    async with receive("", lambda _: web.Response(status=500)) as receiver:
        endpoint = await register(api, receiver)
        job = await run_job(api)
        (delivery,) = await deliveries_in(api, endpoint, "exhausted", 1)
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        recovery = (await api.post(f"/v1/webhook_endpoints/{endpoint['id']}/recover", json={"since": since})).json()
        one, hook = f"/v1/webhook_deliveries/{delivery['id']}", f"/v1/webhook_endpoints/{endpoint['id']}"
        calls: list[tuple[str, str, dict[str, Any] | None]] = [
            ("GET", hook, None),
            ("POST", hook, {"name": "theirs"}),
            ("POST", f"{hook}/enable", None),
            ("POST", f"{hook}/disable", None),
            ("POST", f"{hook}/rotate_secret", {}),
            ("POST", f"{hook}/test", {"event_type": "webhook.ping"}),
            ("POST", f"{hook}/recover", {"since": since}),
            ("GET", f"{hook}/deliveries", None),
            ("GET", one, None),
            ("POST", f"{one}/redeliver", None),
            ("GET", f"/v1/webhook_recoveries/{recovery['id']}", None),
            ("GET", f"/v1/jobs/{job['id']}/deliveries", None),
            ("DELETE", hook, None),
        ]
        before = len(receiver.received)
        async with running.client(other_tenant) as stranger:
            for method, path, body in calls:
                answer = await stranger.request(method, path, json=body)
                assert (answer.status_code, method, path) == (404, method, path)
            assert (await stranger.get("/v1/webhook_endpoints")).json()["data"] == []
            listed = await stranger.get("/v1/webhook_endpoints", params={"after": endpoint["id"]})
            assert listed.json()["data"] == []
        async with running.client() as nobody:
            for method, path, body in calls:
                assert (await nobody.request(method, path, json=body)).status_code == 401
        assert (await api.get(hook)).json()["name"] == "mine"
        assert len({each.id for each in receiver.received}) == 1
        assert before >= 10
