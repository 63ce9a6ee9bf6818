"""Caps over the whole fleet, and receivers that are dead, slow or many: none of them delays another's."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import pytest
from aiohttp import web

from core.domain.ids import DeliveryId, TenantId, new_uuid
from core.queue.keys import Lane
from core.runtime import WorkerRuntime
from core.settings import Settings
from core.webhooks.deliveries.store import CLAIM_ALONE
from core.webhooks.egress.health import Health
from tests.conftest import MakeSettings, MakeTenant, OwnerPool
from tests.support.processes import RunningApi, run_worker, serve_api
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.webhooks.conftest import LOCAL
from tests.webhooks.steps import EVERY

CAPS = {"per_endpoint": 2, "per_host": 3, "timeout_seconds": 30.0}


@dataclass
class Gate:
    """A receiver at which requests wait: `most` is how many there ever were at once, in all and on a path."""

    url: str = ""
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.ids.append(request.headers["webhook-id"])
        self.arrived.append(asyncio.get_running_loop().time())
        for key in ("", request.path):
            self.waiting[key] += 1
            self.most[key] = max(self.most[key], self.waiting[key])
        try:
            await self.opened.wait()
        finally:
            for key in ("", request.path):
                self.waiting[key] -= 1
        return web.Response(status=204)


@asynccontextmanager
async def open_gate(host: str = "127.0.0.1") -> AsyncIterator[Gate]:
    gate = Gate()
    app = web.Application()
    app.router.add_post("/{path}", gate.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    gate.url = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield gate
    finally:
        gate.opened.set()
        await runner.cleanup()


async def register(api: httpx2.AsyncClient, url: str, **fields: Any) -> str:
    answer = await api.post("/v1/webhook_endpoints", json={"name": "n", "url": url, "event_types": EVERY} | fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def submit(api: httpx2.AsyncClient, count: int, **fields: Any) -> None:
    jobs = [{"model": "echo/echo", "input": "hi"} | fields] * count
    answers = await asyncio.gather(*(api.post("/v1/jobs", json=job) for job in jobs))
    assert {answer.status_code for answer in answers} == {202}


async def all_delivered(owner: OwnerPool, count: int) -> bool:
    found = "SELECT count(*) FROM deliveries WHERE state = 'delivered'"
    return bool(await owner.fetchval(found) == count)


async def all_made(owner: OwnerPool, count: int) -> bool:
    return bool(await owner.fetchval("SELECT count(*) FROM deliveries") == count)


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings(webhook=LOCAL | CAPS, worker={"sweep_seconds": 0.2})


async def test_caps_hold_over_all_workers_and_tenants(
    running: RunningApi, new_tenant: MakeTenant, settings: Settings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    """Two to an endpoint, three to a host, whoever asks and whoever sends; and no place is left free."""
    gate = await stack.enter_async_context(open_gate())
    workers = [await stack.enter_async_context(run_worker(settings)) for _ in range(2)]
    for number in range(3):
        api = await stack.enter_async_context(running.client(await new_tenant()))
        await register(api, f"{gate.url}/{number}")
        await submit(api, 6, webhook={"url": f"{gate.url}/own-{number}"})
    await eventually(lambda: all_made(owner, 36))
    lane = workers[0].runtime.keys.lane(Lane.DELIVERIES)
    await eventually(lambda: _is(3, workers[0].runtime.redis.zcard(lane)), what="the others were told to wait")
    assert gate.waiting[""] == 3
    gate.opened.set()
    await eventually(lambda: all_delivered(owner, 36), seconds=30)
    assert gate.most.pop("") == 3
    assert set(gate.most.values()) <= {1, 2}
    # Nobody was sent twice.
    assert len(gate.ids) == 36


async def _is(wanted: int, found: Awaitable[int]) -> bool:
    return await found == wanted


async def test_no_endpoint_has_more_than_its_share(
    running: RunningApi, tenant: Tenant, make_settings: MakeSettings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    gate = await stack.enter_async_context(open_gate())
    api = await stack.enter_async_context(running.client(tenant))
    await stack.enter_async_context(run_worker(running.settings))
    for number in range(2):
        await register(api, f"{gate.url}/{number}")
    await submit(api, 10)
    # The cap of the host is not reached by one of them alone.
    await eventually(lambda: gate.waiting[""] == 3)
    assert sorted(gate.waiting[f"/{number}"] for number in range(2)) == [1, 2]
    gate.opened.set()
    await eventually(lambda: all_delivered(owner, 20))
    assert gate.most["/0"] <= 2 >= gate.most["/1"]


async def test_a_dead_receiver_delays_no_other(
    new_tenant: MakeTenant, make_settings: MakeSettings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    """One dead with a backlog, nine well: these are done while every attempt at the dead one is still under way."""
    settings = make_settings(
        webhook=LOCAL | {"concurrency": 10, "per_tenant": 10, "per_endpoint": 4, "timeout_seconds": 30.0}
    )
    running = await stack.enter_async_context(serve_api(settings))
    api = await stack.enter_async_context(running.client(await new_tenant()))
    await stack.enter_async_context(run_worker(settings))
    dead = await stack.enter_async_context(open_gate("127.0.0.2"))
    await register(api, f"{dead.url}/hook")
    await submit(api, 30)
    await eventually(lambda: dead.waiting[""] == 4)

    well = [await stack.enter_async_context(open_gate(f"127.0.0.{number}")) for number in range(3, 12)]
    for gate in well:
        gate.opened.set()
        await register(api, f"{gate.url}/hook")
    await submit(api, 5)
    await eventually(lambda: all_delivered(owner, 45), what="the others are done")
    assert [len(set(gate.ids)) for gate in well] == [5] * 9
    assert (dead.waiting[""], len(dead.ids)) == (4, 4)


async def test_many_dead_receivers_leave_half_of_the_slots_to_others(
    new_tenant: MakeTenant, make_settings: MakeSettings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    """More dead ones than there are slots: known as such, they get one try at a time, and half of the slots at most."""
    webhook = LOCAL | {"concurrency": 6, "per_tenant": 6, "per_endpoint": 4, "timeout_seconds": 0.5}
    settings = make_settings(webhook=webhook, worker={"sweep_seconds": 0.2})
    running = await stack.enter_async_context(serve_api(settings))
    api = await stack.enter_async_context(running.client(await new_tenant()))
    worker = await stack.enter_async_context(run_worker(settings))
    health = worker.runtime.deliveries.health
    dead = [await stack.enter_async_context(open_gate(f"127.0.0.{number}")) for number in range(2, 10)]
    for gate in dead:
        await register(api, f"{gate.url}/hook")
    await submit(api, 4)
    await eventually(lambda: len(health.suspects()) == 8, seconds=30, what="all eight are known to be dead")
    for gate in dead:
        gate.most.clear()

    well = await stack.enter_async_context(open_gate("127.0.0.100"))
    well.opened.set()
    await register(api, f"{well.url}/hook", event_types=["job.failed"])
    await submit(api, 10, model="echo/fail")
    await eventually(lambda: all_delivered(owner, 10), what="the others are done")
    assert len(set(well.ids)) == 10
    assert max(gate.most[""] for gate in dead) <= 1
    for gate in dead:
        gate.opened.set()
    # Who answers again is no suspect any more, and gets all that waited.
    await eventually(lambda: all_delivered(owner, 10 + 8 * 14), seconds=40)
    assert health.suspects() == frozenset()


async def test_a_receiver_is_called_no_faster_than_it_asks(
    running: RunningApi, tenant: Tenant, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    gate = await stack.enter_async_context(open_gate())
    gate.opened.set()
    api = await stack.enter_async_context(running.client(tenant))
    await register(api, f"{gate.url}/hook", max_per_second=20)
    # All wait before the first worker starts.
    await submit(api, 30)
    await stack.enter_async_context(run_worker(running.settings))
    await eventually(lambda: all_delivered(owner, 30), seconds=30)
    starts = [row[0] for row in await owner.fetch("SELECT started_at FROM delivery_attempts ORDER BY started_at")]
    assert len(starts) == 30
    for first, last in ((0, 29), (0, 15), (14, 29)):
        took = (starts[last] - starts[first]).total_seconds()
        assert took >= (last - first) / 20 - 0.3, (first, last)


TENANT = TenantId(UUID(int=1))


def test_health_counts_silences_in_a_row() -> None:
    health = Health(quota=2)
    for silent in (True, True, False, True, True):
        health.begins("a.example")
        health.ended("a.example", TENANT, silent=silent)
    assert health.suspects() == frozenset()
    health.begins("a.example")
    health.begins("b.example")
    health.ended("a.example", TENANT, silent=True)
    assert (set(health.suspects()), health.room()) == ({"a.example"}, 2)
    health.begins("a.example")
    assert health.room() == 1
    health.ended("a.example", TENANT, silent=False)
    assert (set(health.suspects()), health.room()) == (set(), 2)


async def test_claims_are_one_at_a_time_over_all_workers(worker_runtime: WorkerRuntime, owner: OwnerPool) -> None:
    """What is in flight can't be counted otherwise: two would each count without the other's."""
    waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with owner.acquire() as connection:
        another = connection.transaction()
        await another.start()
        await connection.execute(CLAIM_ALONE)
        claiming = asyncio.create_task(worker_runtime.deliveries.claim(DeliveryId(new_uuid())))
        await eventually(lambda: connection.fetchval(waits), what="the claim waits for the other one")
        assert not claiming.done()
        await another.rollback()
        assert await claiming is None
