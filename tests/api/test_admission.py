"""How much of one process a tenant may use at once, and that others don't notice; and keys that are revoked meanwhile."""

import asyncio
from contextlib import AsyncExitStack

import httpx2
import pytest

from api.jobs import event_routes as events
from core.access import authenticate
from core.access.tenants import revoke_key
from core.runtime import OperatorRuntime
from tests.conftest import MakeSettings
from tests.support.processes import RunningApi, serve_api
from tests.support.tenants import Tenant
from tests.support.waiting import eventually

JOB = {"model": "echo/echo", "input": "hi"}


async def narrow(stack: AsyncExitStack, make_settings: MakeSettings, **bounds: int) -> RunningApi:
    return await stack.enter_async_context(serve_api(make_settings(api=bounds)))


async def unfinished(running: RunningApi, tenant: Tenant) -> asyncio.StreamWriter:
    """A submit whose body never ends: it is open until its connection is closed."""
    host, port = running.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenant.key}\r\ncontent-length: 9\r\n\r\n{{".encode()
    )
    return writer


async def refused(client: httpx2.AsyncClient, path: str) -> str | None:
    answer = await client.get(path)
    if answer.status_code != 429:
        return None
    assert answer.headers["retry-after"] == "1"
    return str(answer.json()["error"]["code"])


async def test_a_tenant_with_too_many_requests_is_told_so_and_alone(
    stack: AsyncExitStack, make_settings: MakeSettings, tenant: Tenant, other_tenant: Tenant
) -> None:
    running = await narrow(stack, make_settings, requests_per_tenant=2)
    mine = await stack.enter_async_context(running.client(tenant))
    others = await stack.enter_async_context(running.client(other_tenant))
    open_ones = [await unfinished(running, tenant) for _ in range(2)]

    assert await eventually(lambda: refused(mine, "/v1/models")) == "too_many_requests"
    # By the short way too.
    answer = await mine.post("/v1/jobs", json=JOB)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_requests")
    assert (await others.post("/v1/jobs", json=JOB)).status_code == 202

    open_ones[0].close()
    await eventually(lambda: accepted(mine), what="a closed connection gives its place back")
    open_ones[1].close()


async def accepted(client: httpx2.AsyncClient) -> bool:
    return (await client.post("/v1/jobs", json=JOB)).status_code == 202


async def test_waits_are_counted_apart_and_end_with_the_job(
    stack: AsyncExitStack, make_settings: MakeSettings, tenant: Tenant, other_tenant: Tenant
) -> None:
    running = await narrow(stack, make_settings, requests_per_tenant=1, waits_per_tenant=2)
    mine = await stack.enter_async_context(running.client(tenant))
    others = await stack.enter_async_context(running.client(other_tenant))
    job = (await mine.post("/v1/jobs", json=JOB)).json()["id"]
    path = f"/v1/jobs/{job}"
    waiting = [asyncio.create_task(mine.get(path, params={"wait": "30"}))]
    # Not before the first one waits: until then it works, and one may.
    await eventually(lambda: running_waits(running, tenant, 1))
    waiting.append(asyncio.create_task(mine.get(f"{path}/events")))
    await eventually(lambda: running_waits(running, tenant, 2))

    assert await refused(mine, f"{path}?wait=1") == "too_many_waits"
    assert await refused(mine, f"{path}/events") == "too_many_waits"
    # What does not wait goes on, and a submit that can't wait is answered at once.
    assert (await mine.get(path)).json()["status"] == "queued"
    assert (await mine.post("/v1/jobs", json=JOB, headers={"prefer": "wait=20"})).status_code == 202
    theirs = (await others.post("/v1/jobs", json=JOB, headers={"prefer": "wait=0.01"})).json()["id"]
    assert (await others.get(f"/v1/jobs/{theirs}", params={"wait": "0.01"})).status_code == 200

    await mine.post(f"{path}/cancel")
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    await eventually(lambda: running_waits(running, tenant, 0))


async def test_a_client_that_has_left_waits_no_longer(
    stack: AsyncExitStack, make_settings: MakeSettings, tenant: Tenant
) -> None:
    running = await narrow(stack, make_settings)
    client = await stack.enter_async_context(running.client(tenant))
    job = (await client.post("/v1/jobs", json=JOB)).json()["id"]
    host, port = running.url.removeprefix("http://").split(":")
    head, body = (
        f"HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenant.key}\r\n",
        '{"model": "echo/echo", "input": "x"}',
    )
    for request in (
        f"GET /v1/jobs/{job}?wait=50 {head}\r\n",
        f"POST /v1/jobs {head}prefer: wait=50\r\ncontent-length: {len(body)}\r\n\r\n{body}",
        f"GET /v1/jobs/{job}/events {head}\r\n",
    ):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request.encode())
        await eventually(lambda: running_waits(running, tenant, 1), what="it waits")
        writer.close()
        await eventually(lambda: running_waits(running, tenant, 0), what="its place is free again")
    await eventually(lambda: running.open_requests.requests == {}, what="nothing is counted twice")


def running_waits(running: RunningApi, tenant: Tenant, count: int) -> bool:
    return running.open_requests.waits.get(tenant.id, 0) == count


async def test_a_revoked_key_hears_no_more(
    stack: AsyncExitStack,
    make_settings: MakeSettings,
    tenant: Tenant,
    operator: OperatorRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authenticate, "CACHE_SECONDS", 0.05)
    monkeypatch.setattr(events, "_KEEP_ALIVE_SECONDS", 0.1)
    running = await narrow(stack, make_settings)
    client = await stack.enter_async_context(running.client(tenant))
    job = (await client.post("/v1/jobs", json=JOB)).json()["id"]
    stream = asyncio.create_task(client.get(f"/v1/jobs/{job}/events"))
    poll = asyncio.create_task(client.get(f"/v1/jobs/{job}", params={"wait": "1.5"}))
    await eventually(lambda: running_waits(running, tenant, 2))

    await revoke_key(operator.database, tenant.id, tenant.key.split("_")[2])

    assert (await stream).text.endswith(": the API key was revoked or has expired\n\n")
    assert (await poll).status_code == 401
