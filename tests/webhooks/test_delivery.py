"""A webhook from the job's last transaction to the receiver: signed, retried, told in the job."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from aiohttp import web

from core.settings import Settings
from tests.conftest import MakeSettings
from tests.support.processes import run_worker, serve_api
from tests.support.receiver import Answer, Receiver, receive
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings(webhook={"allow_http": True, "allow_cidrs": ["127.0.0.0/8"], "retry_seconds": [0.05] * 9})


@pytest.fixture
async def api(settings: Settings, tenant: Tenant, stack: AsyncExitStack) -> AsyncIterator[httpx2.AsyncClient]:
    running = await stack.enter_async_context(serve_api(settings))
    await stack.enter_async_context(run_worker(settings))
    async with running.client(tenant) as client:
        yield client


async def _run(api: httpx2.AsyncClient, receiver: Receiver, **fields: object) -> dict[str, Any]:
    body = {"model": "echo/echo", "input": "hi", "webhook": {"url": receiver.url}} | fields
    answer = await api.post("/v1/jobs", json=body, headers={"prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def _delivery(api: httpx2.AsyncClient, job_id: str, state: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        webhook = (await api.get(f"/v1/jobs/{job_id}")).json()["webhook"]
        found = [each for each in webhook["deliveries"] if each["status"] == state]
        return found[0] if found else None

    return await eventually(look, what=f"the delivery is {state}")


async def test_a_finished_job_calls_back_once_with_a_good_signature(api: httpx2.AsyncClient, tenant: Tenant) -> None:
    async with receive(tenant.webhook_secret) as receiver:
        job = await _run(api, receiver)
        delivery = await _delivery(api, job["id"], "delivered")
    assert (receiver.unverified, len(receiver.received)) == (0, 1)
    event = receiver.received[0].event
    assert event["type"] == "job.succeeded"
    assert event["data"]["job_id"] == job["id"]
    assert event["data"]["status"] == "succeeded"
    assert event["id"] == receiver.received[0].id
    assert (delivery["event"], delivery["attempts"], delivery["http_status"]) == ("job.succeeded", 1, 204)


async def test_each_end_has_its_event(api: httpx2.AsyncClient, tenant: Tenant) -> None:
    async with receive(tenant.webhook_secret) as receiver:
        failed = await _run(api, receiver, model="echo/fail")
        await _delivery(api, failed["id"], "delivered")
    event = receiver.received[0].event
    assert (event["type"], event["data"]["error"]["code"]) == ("job.failed", "provider_invalid_request")


async def test_only_the_asked_events_are_sent(api: httpx2.AsyncClient, tenant: Tenant) -> None:
    async with receive(tenant.webhook_secret) as receiver:
        webhook = {"url": receiver.url, "events": ["job.failed"]}
        succeeded = await _run(api, receiver, webhook=webhook)
        failed = await _run(api, receiver, webhook=webhook, model="echo/fail")
        await _delivery(api, failed["id"], "delivered")
    assert succeeded["webhook"]["deliveries"] == []
    assert [each.event["data"]["job_id"] for each in receiver.received] == [failed["id"]]


async def test_a_refusal_is_tried_again_under_the_same_id(api: httpx2.AsyncClient, tenant: Tenant) -> None:
    answer: Answer = lambda n: web.Response(status=500 if n == 1 else 200)  # noqa: E731 - as the type says
    async with receive(tenant.webhook_secret, answer) as receiver:
        job = await _run(api, receiver)
        delivery = await _delivery(api, job["id"], "delivered")
    assert delivery["attempts"] == 2
    assert len({each.id for each in receiver.received}) == 1


async def test_a_redirect_is_not_followed(api: httpx2.AsyncClient, tenant: Tenant) -> None:
    async with receive(tenant.webhook_secret) as target:
        answer: Answer = lambda _: web.Response(status=307, headers={"location": target.url})  # noqa: E731
        async with receive(tenant.webhook_secret, answer) as receiver:
            job = await _run(api, receiver)
            ended = await _delivery(api, job["id"], "exhausted")
    assert (ended["http_status"], ended["error"], ended["attempts"]) == (307, "redirect", 10)
    assert target.received == []
