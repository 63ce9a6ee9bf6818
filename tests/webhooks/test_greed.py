"""One tenant's backlog is nobody else's: slots, addresses and turns, whatever its receivers do."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from core.db.session import hot_statement
from core.domain.ids import DeliveryId, TenantId, new_uuid
from core.jobs.due_deliveries import DUE_DELIVERIES, DeliveryWalk
from core.queue.claims import open_claims
from core.queue.enqueue import delivery_entry
from core.queue.keys import Lane, delivery_member
from core.runtime import WorkerRuntime
from core.settings import WebhookSettings
from core.webhooks.deliveries import recover
from core.webhooks.deliveries.context import tenant_cap
from core.webhooks.deliveries.records import ClaimedDelivery
from core.webhooks.deliveries.store import CLAIM_ALONE
from core.webhooks.egress.exchange import Answered, NoPlace
from core.webhooks.egress.health import MOST_HOSTS, MOST_OF_A_TENANT, Health
from core.webhooks.egress.places import AddressPlaces
from core.webhooks.egress.post import Egress
from core.webhooks.endpoints.create import create_endpoint
from core.webhooks.endpoints.records import EndpointDraft
from tests.conftest import MakeSettings, MakeTenant, OwnerPool
from tests.support.nameserver import serve_names
from tests.support.processes import run_worker, serve_api
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.webhooks.conftest import LOCAL
from tests.webhooks.raw_receiver import Exchange, receive_raw
from tests.webhooks.test_isolation import open_gate, submit

# One of each host in turn; due now, and in nobody's hands.
MAKE = """
INSERT INTO deliveries (id, tenant_id, event_id, event_type, url, body)
SELECT inferd_uuid7(), $1, inferd_uuid7(), 'job.succeeded', url, '{}'
FROM unnest($2::text[]) AS url CROSS JOIN generate_series(1, $3) RETURNING id
"""
EXHAUST = "UPDATE deliveries SET state = 'exhausted', endpoint_id = $2 WHERE id = ANY ($1)"
DAY = timedelta(days=1)
A, B = TenantId(UUID(int=1)), TenantId(UUID(int=2))


async def test_hanging_receivers_of_one_tenant_do_not_delay_another(
    new_tenant: MakeTenant, make_settings: MakeSettings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    """200 deliveries to 20 hosts that take a request and never answer, and 16 slots."""
    settings = make_settings(
        webhook=LOCAL | {"concurrency": 16, "timeout_seconds": 30.0}, worker={"sweep_seconds": 0.2}
    )
    greedy, quiet = await new_tenant(), await new_tenant()
    hanging = [await stack.enter_async_context(open_gate(f"127.0.2.{number}")) for number in range(1, 21)]
    await owner.execute(MAKE, greedy.id, [f"{gate.url}/hook" for gate in hanging], 10)
    running = await stack.enter_async_context(serve_api(settings))
    await stack.enter_async_context(run_worker(settings))

    def waiting() -> int:
        return sum(gate.waiting[""] for gate in hanging)

    # A quarter of the slots.
    await eventually(lambda: waiting() == 4, what="the greedy one has its share")
    well = await stack.enter_async_context(open_gate("127.0.2.100"))
    well.opened.set()
    async with running.client(quiet) as api:
        await submit(api, 5, webhook={"url": f"{well.url}/hook"})
        await eventually(lambda: len(set(well.ids)) == 5, seconds=10, what="the quiet one's have come")
    assert waiting() == 4 == sum(len(gate.ids) for gate in hanging)
    for gate in hanging:
        gate.opened.set()


async def test_a_long_recovery_leaves_batches_to_other_tenants(
    worker_runtime: WorkerRuntime, new_tenant: MakeTenant, owner: OwnerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The greedy one's was started first, and takes more batches than a sweep does."""
    monkeypatch.setattr(recover, "_BATCH", 2)
    monkeypatch.setattr(recover, "_BATCHES_A_SWEEP", 25)
    greedy, quiet = await new_tenant(), await new_tenant()
    database, begun = worker_runtime.database, {}
    for tenant, count in ((greedy, 60), (quiet, 1)):
        draft = EndpointDraft("mine", "https://example.com/", ("job.succeeded",))
        endpoint = (await create_endpoint(database, worker_runtime.jobs.sealer, tenant.id, draft)).value.endpoint
        made = await owner.fetch(MAKE, tenant.id, ["https://example.com/"], count)
        await owner.execute(EXHAUST, [row["id"] for row in made], endpoint.id)
        now = datetime.now(UTC)
        begun[tenant.id] = await recover.start_recovery(
            database, tenant.id, endpoint.id, since=now - DAY, until=now + DAY, statuses=["exhausted"]
        )
    await recover.advance_recoveries(database, worker_runtime.jobs.enqueuer)
    ends = {
        tenant_id: await recover.get_recovery(database, tenant_id, each.value.id) for tenant_id, each in begun.items()
    }
    assert (ends[quiet.id].state, ends[quiet.id].requeued) == ("completed", 1)
    assert ends[greedy.id].state == "running"


async def test_deliveries_take_turns_by_tenant(worker_runtime: WorkerRuntime) -> None:
    enqueuer, keys = worker_runtime.jobs.enqueuer, worker_runtime.keys
    await enqueuer.enqueue_now([delivery_entry(DeliveryId(new_uuid()), A) for _ in range(50)])
    late = DeliveryId(new_uuid())
    await enqueuer.enqueue_now([delivery_entry(late, B)])
    claims = open_claims(worker_runtime.redis, keys, [Lane.DELIVERIES], 10)
    acquired = (await claims.claim([2])).acquired
    assert delivery_member(late) in {each.member for each in acquired}
    await worker_runtime.redis.delete(*(f"arq:in-progress:{each.member}" for each in acquired))


async def test_a_backlog_of_many_hosts_leaves_the_sweep_to_others(
    worker_runtime: WorkerRuntime, tenant: Tenant, other_tenant: Tenant, owner: OwnerPool
) -> None:
    urls = [f"https://host-{number}.example/hook" for number in range(250)]
    many = {row["id"] for row in await owner.fetch(MAKE, tenant.id, urls, 1)}
    one = {row["id"] for row in await owner.fetch(MAKE, other_tenant.id, urls[:1], 1)}
    walk = DeliveryWalk(worker_runtime.database)
    found, more = await walk.look(100)
    assert ({each for each, _ in found} >= one, len(found), more) == (True, 101, False)
    seen = {each for each, _ in found}
    for _ in range(2):
        found, _ = await walk.look(100)
        seen |= {each for each, _ in found}
    # The next looks go on where the last one ended.
    assert seen == many | one


async def test_who_stands_still_with_the_claims_lock_stops_nobody(
    worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    (row,) = await owner.fetch(MAKE, tenant.id, ["https://a.example/hook"], 1)
    async with owner.acquire() as connection, connection.transaction():
        await connection.execute(CLAIM_ALONE)
        claimed = await asyncio.wait_for(worker_runtime.deliveries.claim(DeliveryId(row["id"])), 10)
    assert isinstance(claimed, ClaimedDelivery)


async def test_a_locked_endpoint_holds_up_its_own_deliveries_alone(
    worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    endpoint = await owner.fetchval(
        "INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret, max_per_second)"
        " VALUES (inferd_uuid7(), $1, 'n', 'https://a.example/hook', '{}', '', 5) RETURNING id",
        tenant.id,
    )
    rows = await owner.fetch(MAKE, tenant.id, ["https://a.example/hook"], 2)
    held, free = (DeliveryId(row["id"]) for row in rows)
    await owner.execute("UPDATE deliveries SET endpoint_id = $1 WHERE id = $2", endpoint, held)
    deliveries = worker_runtime.deliveries
    async with owner.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM webhook_endpoints WHERE id = $1 FOR UPDATE", endpoint)
        waits, claimed = await asyncio.wait_for(asyncio.gather(deliveries.claim(held), deliveries.claim(free)), 5)
    assert isinstance(claimed, ClaimedDelivery)
    assert not isinstance(waits, ClaimedDelivery)
    assert waits is not None


async def test_host_names_of_one_address_count_together() -> None:
    """Places are taken by address, a tenant's half of them at most, also on connections that were kept."""
    told = WebhookSettings.model_validate(LOCAL | {"per_address": 6, "timeout_seconds": 20.0})
    hang, hung = asyncio.Event(), 0

    async def behave(exchange: Exchange) -> None:
        nonlocal hung
        if hang.is_set():
            hung += 1
            await asyncio.Event().wait()
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with (
        receive_raw(behave) as receiver,
        serve_names(lambda _name, _n: ["127.0.0.1"]) as names,
        Egress(told, names.resolver()) as out,
    ):

        async def post(name: str, tenant_id: TenantId) -> object:
            return await out.post(receiver.url(name), {}, b"{}", tenant_id=tenant_id)

        answers = await asyncio.gather(*(post("kept.test", A) for _ in range(3)))
        assert all(isinstance(each, Answered) for each in answers)
        hang.set()
        kept = [asyncio.create_task(post("kept.test", A)) for _ in range(2)]
        other = [asyncio.create_task(post("other.test", A))]
        await eventually(lambda: hung == 3)
        # One on a connection that is there, one on a new one.
        assert isinstance(await post("kept.test", A), NoPlace)
        assert isinstance(await post("third.test", A), NoPlace)
        theirs = [asyncio.create_task(post(f"b-{number}.test", B)) for number in range(3)]
        await eventually(lambda: hung == 6)
        assert isinstance(await post("b-4.test", B), NoPlace)
        for task in (*kept, *other, *theirs):
            task.cancel()
        await asyncio.gather(*kept, *other, *theirs, return_exceptions=True)
        hang.clear()
        assert isinstance(await post("third.test", A), Answered)


async def test_who_finds_no_place_comes_again_at_no_cost(
    tenant: Tenant, make_settings: MakeSettings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    settings = make_settings(webhook=LOCAL | {"per_address": 2, "timeout_seconds": 1.5}, worker={"sweep_seconds": 0.2})
    gate = await stack.enter_async_context(open_gate())
    await owner.execute(MAKE, tenant.id, [f"{gate.url}/hook"], 3)
    await stack.enter_async_context(run_worker(settings))
    put_back = "SELECT count(*) = 2 FROM deliveries WHERE attempts = 0 AND slots_used = 0 AND next_attempt_at > now()"
    await eventually(lambda: owner.fetchval(put_back), what="two were put back")
    assert gate.waiting[""] == 1
    gate.opened.set()
    done = "SELECT count(*) = 3 FROM deliveries WHERE state = 'delivered' AND attempts = 1"
    await eventually(lambda: owner.fetchval(done), seconds=30, what="all were sent")
    assert (gate.most[""], len(gate.ids)) == (1, 3)


@pytest.mark.parametrize(("setting", "cap"), [(0.25, 64), (0.001, 1), (0.999, 255), (1, 1), (300, 300)])
def test_a_share_is_of_a_workers_slots_and_a_number_is_a_number(setting: float, cap: int) -> None:
    assert tenant_cap(WebhookSettings(per_tenant=setting)) == cap


def test_who_is_turned_away_from_an_address_comes_one_after_the_other() -> None:
    places = AddressPlaces(most=4, seconds=20.0)
    assert [places.enter("2001:db8::1", A), places.enter("2001:db8::2", A)] == [True, True]
    # A customer of IPv6 has a whole /64.
    assert not places.enter("2001:db8:0:0:ffff::9", A)
    assert places.enter("2001:db8:0:1::1", A)
    assert places.enter("2001:db8::1", B)
    waits = [places.wait("2001:db8::1", now=100.0) for _ in range(9)]
    assert waits[:3] == [10.0, 20.0, 30.0]
    assert max(waits) == 60.0
    places.leave("2001:db8::1", A)
    assert places.enter("2001:db8::3", A)


def test_dead_hosts_of_one_tenant_do_not_push_out_anothers() -> None:
    health = Health(quota=1)

    def fail(host: str, tenant_id: TenantId) -> None:
        for _ in range(3):
            health.begins(host)
            health.ended(host, tenant_id, silent=True)

    fail("dead.example", B)
    for number in range(MOST_OF_A_TENANT + 500):
        fail(f"{number}.example", A)
    assert len(health.suspects()) == MOST_OF_A_TENANT + 1
    assert {"dead.example", f"{MOST_OF_A_TENANT + 499}.example"} <= health.suspects()
    assert "0.example" not in health.suspects()
    # Full of many tenants' hosts, it still learns; whoever was silent longest ago is forgotten.
    for number in range(MOST_HOSTS):
        fail(f"n-{number}.example", TenantId(UUID(int=100 + number // 100)))
    assert len(health.suspects()) == MOST_HOSTS
    assert f"n-{MOST_HOSTS - 1}.example" in health.suspects()
    assert "dead.example" not in health.suspects()


async def test_a_fairness_walk_reads_no_more_than_it_takes(
    worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    """One target with a long backlog is looked at twice, however long it is."""
    await owner.execute(MAKE, tenant.id, ["https://a.example/hook"], 2000)
    # As autovacuum leaves it: not as some earlier test filled the table.
    await owner.execute("ANALYZE deliveries")
    async with hot_statement(worker_runtime.database) as connection:
        rows = await DUE_DELIVERIES.fetch(connection, tenants=100, after_tenant=UUID(int=0), targets=100)
    (row,) = rows
    assert (row["looked_at"], len(row["delivery_ids"])) == (1, 2)
    plan = await _explain(
        worker_runtime,
        DUE_DELIVERIES.text,
        *DUE_DELIVERIES.arguments(tenants=100, after_tenant=UUID(int=0), targets=100),
    )
    assert "Seq Scan on deliveries" not in plan
    assert "ix_deliveries_turns" in plan


async def _explain(runtime: WorkerRuntime, sql: str, *arguments: object) -> str:
    async with hot_statement(runtime.database) as connection:
        lines: list[asyncpg.Record] = await connection.fetch(f"EXPLAIN {sql}", *arguments)
    return "\n".join(row[0] for row in lines)


@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1e-12])
async def test_a_rate_of_nearly_nothing_holds_up_nobody_else(
    new_tenant: MakeTenant, make_settings: MakeSettings, owner: OwnerPool, stack: AsyncExitStack, rate: float
) -> None:
    """Earlier releases took any rate above 0: what a claim made of it was no time, and failed for everybody."""
    settings = make_settings(webhook=LOCAL, worker={"sweep_seconds": 0.2})
    slow, quiet = await new_tenant(), await new_tenant()
    well = await stack.enter_async_context(open_gate("127.0.2.100"))
    well.opened.set()
    running = await stack.enter_async_context(serve_api(settings))
    made = {"name": "slow", "url": f"{well.url}/slow", "event_types": ["job.succeeded"]}
    async with running.client(slow) as api:
        refused = await api.post("/v1/webhook_endpoints", json=made | {"max_per_second": rate})
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "max_per_second")
        assert (await api.post("/v1/webhook_endpoints", json=made | {"max_per_second": 0.001})).status_code == 200
        await owner.execute("UPDATE webhook_endpoints SET max_per_second = $1", rate)
        await submit(api, 10)
    await stack.enter_async_context(run_worker(settings))
    async with running.client(quiet) as api:
        await submit(api, 10, webhook={"url": f"{well.url}/quiet"})
    # Of the slow one's the first, and no other for a long time.
    await eventually(lambda: len(set(well.ids)) == 11, seconds=10, what="the quiet one's have come")
    ahead = "SELECT bool_and(send_after < now() + interval '2 days') FROM webhook_endpoints WHERE max_per_second = $1"
    assert await owner.fetchval(ahead, rate)
