"""What events say: the steps before a job's end for who asks, results with them, sequence, and endpoints that end."""

from typing import Any

import httpx2
import pytest
from aiohttp import web

from core.domain.events import (
    EVENT_TYPES,
    EVENTS,
    PROGRESS_EVENT_TYPES,
    BatchEvent,
    JobEvent,
    WebhookEvent,
    example,
)
from tests.conftest import OwnerPool
from tests.support.receiver import receive
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.webhooks.steps import deliveries_in, register, run_job

pytestmark = pytest.mark.usefixtures("worker")


def of(receiver: Any, event_type: str) -> list[dict[str, Any]]:
    return [each.event for each in receiver.received if each.event["type"] == event_type]


async def test_steps_are_told_to_who_asks_for_them_in_an_order_that_can_be_told(
    api: httpx2.AsyncClient, tenant: Tenant
) -> None:
    steps = ["job.queued", "job.running", "job.retrying", "job.succeeded"]
    params = {"fail_times": 1}
    async with receive("") as asked, receive("") as quiet, receive(tenant.webhook_secret) as own:
        await register(api, asked, event_types=steps)
        await register(api, quiet, event_types=["job.succeeded"])
        job = await run_job(api, model="echo/flaky", params=params, webhook={"url": own.url, "events": steps})
        await eventually(lambda: len(asked.received) == len(own.received) == 5, what="all five have come, to both")
        await eventually(lambda: quiet.received or None)
    for receiver in (asked, own):
        assert receiver.unverified == 0
        events = sorted((each.event for each in receiver.received), key=lambda event: event["data"]["sequence"])
        assert [event["type"] for event in events] == [
            "job.queued", "job.running", "job.retrying", "job.running", "job.succeeded",
        ]  # fmt: skip
        assert len({event["data"]["sequence"] for event in events}) == 5
        assert {event["data"]["job_id"] for event in events} == {job["id"]}
        assert [event["data"]["status"] for event in events] == ["queued", "running", "queued", "running", "succeeded"]
        assert {each.id for each in receiver.received} == {event["id"] for event in events}
    # Of one event, receivers are told the same.
    assert {each.id for each in asked.received} == {each.id for each in own.received}
    assert [each.event["type"] for each in quiet.received] == ["job.succeeded"]
    (retrying,) = of(asked, "job.retrying")
    assert retrying["data"]["error"]["code"]
    assert retrying["data"]["run_at"].endswith("Z")


async def test_a_retry_by_hand_is_queued_again(api: httpx2.AsyncClient) -> None:
    async with receive("") as receiver:
        await register(api, receiver, event_types=["job.queued"])
        job = await run_job(api, model="echo/fail")
        await api.post(f"/v1/jobs/{job['id']}/retry")
        await eventually(lambda: len(receiver.received) == 2)
    first, second = sorted(event["data"]["sequence"] for event in of(receiver, "job.queued"))
    assert first == 1 < second


async def test_what_postgresql_writes_has_the_shape_and_the_order_of_the_documentation(api: httpx2.AsyncClient) -> None:
    async with receive("") as receiver:
        await register(api, receiver, event_types=list(EVENT_TYPES))
        await run_job(api, model="echo/flaky", params={"fail_times": 1})
        await run_job(api, model="echo/fail")
        cancelled = (await api.post("/v1/jobs", json={"model": "echo/slow", "input": "hi"})).json()
        assert (await api.post(f"/v1/jobs/{cancelled['id']}/cancel")).status_code == 200
        await run_job(api, model="echo/slow", deadline_seconds=1)
        ends = {"job.succeeded", "job.failed", "job.cancelled", "job.expired"}
        await eventually(lambda: ends <= {each.event["type"] for each in receiver.received} or None)
        seen = {"response.completed", "response.failed", "response.cancelled", *PROGRESS_EVENT_TYPES, *ends}
        await eventually(lambda: {each.event["type"] for each in receiver.received} == seen)
    for received in receiver.received:
        event = EVENTS[received.event["type"]].shape.model_validate_json(received.body, strict=True)
        assert (event.model_extra, event.data.model_extra) == ({}, {})
        documented = example(event.type)
        assert list(received.event) == list(documented)
        said, expected = received.event["data"], documented["data"]
        assert isinstance(expected, dict)
        assert (set(said), list(said)[:6]) == (set(expected), list(expected)[:6])


async def test_a_result_comes_with_its_event_where_that_is_asked_for(api: httpx2.AsyncClient) -> None:
    async with receive("") as whole, receive("") as thin:
        await register(api, whole, include_result=True)
        await register(api, thin)
        job = await run_job(api)
        failed = await run_job(api, model="echo/fail")
        await eventually(lambda: len(whole.received) == len(thin.received) == 2)
    (event,) = of(whole, "job.succeeded")
    assert event["data"]["result"] == job["output"]
    assert "result" not in of(thin, "job.succeeded")[0]["data"]
    assert {key: event["data"][key] for key in of(thin, "job.succeeded")[0]["data"]} == (
        of(thin, "job.succeeded")[0]["data"]
    )
    assert [event["data"]["job_id"] for event in of(whole, "job.failed")] == [failed["id"]]
    assert whole.unverified == thin.unverified == 0


@pytest.mark.parametrize("size", [30_000, 40_000, 200_000])
async def test_a_result_beyond_64_kb_is_left_out_and_that_is_said(api: httpx2.AsyncClient, size: int) -> None:
    async with receive("") as receiver:
        await register(api, receiver, include_result=True)
        await run_job(api, input="x" * size)
        (received,) = await eventually(lambda: receiver.received or None)
    data = received.event["data"]
    # The answer is in it twice: as text and as a message.
    fits = size * 2 < 65_536
    assert (data.get("result_omitted"), "result" in data) == ((None, True) if fits else ("too_large", False))
    assert len(received.body) <= 65_536


async def test_the_same_bytes_are_sent_each_time(api: httpx2.AsyncClient) -> None:
    async with receive("", lambda n: web.Response(status=500 if n == 1 else 200)) as receiver:
        endpoint = await register(api, receiver, include_result=True)
        await run_job(api)
        await deliveries_in(api, endpoint, "delivered", 1)
    first, second = receiver.received
    assert first.body == second.body
    assert first.id == second.id
    assert first.headers["webhook-timestamp"] <= second.headers["webhook-timestamp"]


async def test_an_endpoint_that_is_gone_is_disabled_and_the_others_are_told(
    api: httpx2.AsyncClient, owner: OwnerPool
) -> None:
    async with receive("", lambda _: web.Response(status=410)) as gone, receive("") as other:
        dead = await register(api, gone)
        await register(api, other, event_types=["webhook.disabled"])
        await run_job(api)
        (event,) = await eventually(lambda: [each.event for each in other.received] or None)
        assert event["type"] == "webhook.disabled"
        assert event["data"] == {"id": dead["id"], "reason": "gone", "failures": 1}
        found = (await api.get(f"/v1/webhook_endpoints/{dead['id']}")).json()
        assert (found["enabled"], found["disabled_reason"]) == (False, "gone")
        assert found["disabled_at"] is not None
        (exhausted,) = await deliveries_in(api, dead, "exhausted", 1)
        assert (exhausted["http_status"], exhausted["error"], exhausted["attempts"]) == (410, "gone", 1)
        # It still collects what it misses, and is given it when it is back.
        await run_job(api)
        await deliveries_in(api, dead, "skipped", 1)
        assert len(gone.received) == 1
        gone.answer = lambda _: web.Response(status=204)
        enabled = (await api.post(f"/v1/webhook_endpoints/{dead['id']}/enable")).json()
        assert (enabled["enabled"], enabled["disabled_reason"], enabled["failures"]) == (True, None, 0)
        started = await api.post(f"/v1/webhook_endpoints/{dead['id']}/recover", json={"since": "2026-11-01T00:00:00Z"})
        assert (started.status_code, started.json()["total"]) == (202, 2)
        await deliveries_in(api, dead, "delivered", 2)


async def test_twenty_failures_in_five_days_without_a_success_disable(
    api: httpx2.AsyncClient, owner: OwnerPool
) -> None:
    async with receive("", lambda _: web.Response(status=500)) as receiver:
        endpoint = await register(api, receiver)
        path = f"/v1/webhook_endpoints/{endpoint['id']}"
        for _ in range(2):
            await run_job(api)
        await deliveries_in(api, endpoint, "exhausted", 2)
        young = (await api.get(path)).json()
        assert (young["enabled"], young["failures"], young["failing_since"] is None) == (True, 20, False)

        # A success wipes it all out.
        receiver.answer = lambda _: web.Response(status=200)
        await run_job(api)
        await deliveries_in(api, endpoint, "delivered", 1)
        well = (await api.get(path)).json()
        assert (well["failures"], well["failing_since"]) == (0, None)

        receiver.answer = lambda _: web.Response(status=500)
        await run_job(api)
        await deliveries_in(api, endpoint, "exhausted", 3)
        await owner.execute(
            "UPDATE webhook_endpoints SET failures = 15, failing_since = now() - interval '5 days 1 minute'"
        )
        assert (await api.get(path)).json()["enabled"] is True
        await run_job(api)
        await eventually(lambda: _is_disabled(api, path), what="the endpoint is disabled")
        disabled = (await api.get(path)).json()
        assert (disabled["disabled_reason"], disabled["failures"]) == ("failing", 20)
        (skipped,) = await deliveries_in(api, endpoint, "skipped", 1)
        assert skipped["attempts"] == 5


async def _is_disabled(api: httpx2.AsyncClient, path: str) -> bool:
    return not (await api.get(path)).json()["enabled"]


async def test_what_waits_for_a_disabled_endpoint_is_skipped_at_once(api: httpx2.AsyncClient, owner: OwnerPool) -> None:
    async with receive("", lambda _: web.Response(status=500)) as receiver:
        endpoint = await register(api, receiver)
        await run_job(api)
        await eventually(lambda: receiver.received or None)
        await owner.execute("UPDATE deliveries SET next_attempt_at = now() + interval '1 hour'")
        await api.post(f"/v1/webhook_endpoints/{endpoint['id']}", json={"enabled": False})
        await deliveries_in(api, endpoint, "skipped", 1)


async def test_a_new_url_is_where_the_old_deliveries_go(api: httpx2.AsyncClient) -> None:
    async with receive("", lambda _: web.Response(status=500)) as old, receive("") as new:
        endpoint = await register(api, old)
        new.secret = old.secret
        await run_job(api)
        (exhausted,) = await deliveries_in(api, endpoint, "exhausted", 1)
        await api.post(f"/v1/webhook_endpoints/{endpoint['id']}", json={"url": new.url})
        # Where it went, until it goes again.
        assert (await api.get(f"/v1/webhook_deliveries/{exhausted['id']}")).json()["url"] == old.url
        again = await api.post(f"/v1/webhook_deliveries/{exhausted['id']}/redeliver")
        assert again.json()["url"] == new.url
        await eventually(lambda: new.received or None)
    assert new.unverified == 0


async def test_every_event_of_the_document_is_sent_and_the_other_way_round(api: httpx2.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    types = (await api.get("/v1/webhook_event_types")).json()["data"]
    assert list(document["webhooks"]) == types
    async with receive("") as receiver:
        endpoint = await register(api, receiver)
        for event_type in types:
            sent = await api.post(f"/v1/webhook_endpoints/{endpoint['id']}/test", json={"event_type": event_type})
            assert sent.status_code == 200, sent.text
    models = {model.__name__: model for model in (JobEvent, BatchEvent, WebhookEvent)}
    for received in receiver.received:
        body = document["webhooks"][received.event["type"]]["post"]["requestBody"]
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert name in document["components"]["schemas"]
        read = models[name].model_validate_json(received.body, strict=True)
        # Nothing is sent that the document does not know.
        assert read.model_extra == {}
        assert read.data.model_extra == {}
    assert len(receiver.received) == len(types)
