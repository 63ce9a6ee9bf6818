"""What is to be sent outlives its job; nothing is sent for an endpoint that is gone; and deleting one holds nobody."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
from aiohttp import web

from core.db.session import hot_statement
from core.domain import transitions
from core.domain.ids import parse_job
from core.jobs import store
from core.jobs.prune import prune
from core.jobs.records import Change, JobKey
from core.runtime import WorkerRuntime
from core.settings import RetentionSettings, Settings
from core.webhooks.deliveries.prune import BATCH, GoneEndpoints
from core.webhooks.deliveries.store import MOST_ATTEMPTS
from core.webhooks.endpoints.settle import settle_endpoints
from core.webhooks.endpoints.update import SETTLED_AT_ONCE
from tests.conftest import MakeSettings, OwnerPool
from tests.support import jobs
from tests.support.processes import RunningApi, run_worker
from tests.support.receiver import receive
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.webhooks.steps import EVERY, deliveries_in, detail, register, run_job

AT_ONCE = RetentionSettings(succeeded_days=1, failed_days=1, deleted_days=1e-9)
ENDPOINT = """
INSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret)
VALUES (inferd_uuid7(), $1, 'n', $2, $3, '\\x00') RETURNING id
"""
MANY = """
INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, event_type, url, body)
SELECT inferd_uuid7(), $1, $2, inferd_uuid7(), 'job.succeeded', $3, '{}' FROM generate_series(1, $4)
"""
LOGGED = """
INSERT INTO delivery_attempts (delivery_id, tenant_id, attempt, trigger, started_at, worker_id)
SELECT id, tenant_id, 1, 'scheduled', now(), 'w' FROM deliveries
"""


async def test_the_webhooks_of_a_deleted_job_are_sent(
    api: httpx2.AsyncClient, tenant: Tenant, settings: Settings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    own = await stack.enter_async_context(receive(tenant.webhook_secret))
    registered = await stack.enter_async_context(receive(""))
    await register(api, registered, event_types=["job.cancelled"])
    # A worker that delivers nothing, so that all wait when their jobs go.
    answers = [
        await api.post("/v1/jobs", json={"model": "echo/echo", "input": "hi", "webhook": {"url": own.url}})
        for _ in range(10)
    ]
    ids = [answer.json()["id"] for answer in answers]
    for job_id in ids:
        assert (await api.delete(f"/v1/jobs/{job_id}")).status_code in (200, 204)
        assert (await api.get(f"/v1/jobs/{job_id}")).status_code == 410
    waiting = (await api.get(f"/v1/jobs/{ids[0]}/deliveries")).json()["data"]
    assert [each["status"] for each in waiting] == ["pending", "pending"]
    worker = await stack.enter_async_context(run_worker(settings))
    await eventually(lambda: len(own.received) == len(registered.received) == 10, what="all were told")
    for receiver in (own, registered):
        assert receiver.unverified == 0
        assert {each.event["type"] for each in receiver.received} == {"job.cancelled"}
        assert {each.event["data"]["job_id"] for each in receiver.received} == set(ids)
    sent = "SELECT count(*) = 20 FROM deliveries WHERE state = 'delivered'"
    await eventually(lambda: owner.fetchval(sent), what="all were recorded")
    assert len((await api.get(f"/v1/jobs/{ids[0]}/deliveries")).json()["data"]) == 2
    assert (await detail(api, waiting[0]["id"]))["status"] == "delivered"
    # They go with the memory of their job, one that is still to be sent keeps it.
    await owner.execute(
        "UPDATE deliveries SET state = 'pending', delivered_at = NULL, next_attempt_at = now() + interval '1 h'"
        " WHERE job_id = $1",
        parse_job(ids[0]),
    )
    await prune(worker.runtime.jobs, AT_ONCE)
    assert await owner.fetchval("SELECT count(*) FROM deliveries") == 2
    assert await owner.fetchval("SELECT count(*) FROM deleted_jobs") == 1
    assert (await api.get(f"/v1/jobs/{ids[1]}/deliveries")).status_code == 404
    await owner.execute("UPDATE deliveries SET state = 'exhausted'")
    await prune(worker.runtime.jobs, AT_ONCE)
    assert await owner.fetchval("SELECT count(*) FROM deliveries") == 0


async def test_what_was_sent_goes_with_its_job(worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool) -> None:
    """By hand at once, by age in the batch that takes the job."""
    async with hot_statement(worker_runtime.database) as connection:
        ids = [await jobs.insert(connection, tenant.id) for _ in range(2)]
    await owner.execute(
        "INSERT INTO deliveries (id, tenant_id, job_id, event_id, event_type, url, body, state)"
        " SELECT inferd_uuid7(), $1, job_id, inferd_uuid7(), 'job.failed', 'https://a.example/', '', 'exhausted'"
        " FROM unnest($2::uuid[]) AS job_id",
        tenant.id,
        ids,
    )
    await owner.execute("UPDATE jobs SET state = 'cancelled', finished_at = now() - interval '9 days'")
    async with hot_statement(worker_runtime.database) as connection:
        assert await store.delete(connection, [JobKey(ids[0], tenant.id)]) == 1
    assert await owner.fetchval("SELECT array_agg(job_id) FROM deliveries") == [ids[1]]
    await prune(worker_runtime.jobs, RetentionSettings(failed_days=1))
    assert await owner.fetchval("SELECT count(*) FROM deliveries") == 0


async def test_a_result_that_went_with_its_job_is_said_to_be_left_out(
    api: httpx2.AsyncClient, make_settings: MakeSettings, stack: AsyncExitStack, running: RunningApi
) -> None:
    settings = running.settings.model_copy(
        update={"webhook": running.settings.webhook.model_copy(update={"retry_seconds": (3600.0,)})}
    )
    await stack.enter_async_context(run_worker(settings))
    receiver = await stack.enter_async_context(receive("", lambda n: web.Response(status=500 if n == 1 else 204)))
    endpoint = await register(api, receiver, include_result=True)
    job = await run_job(api)
    (waiting,) = await eventually(lambda: _tried(api, endpoint))
    assert receiver.received[0].event["data"]["result"]["text"]
    assert (await api.delete(f"/v1/jobs/{job['id']}")).status_code in (200, 204)
    assert (await api.post(f"/v1/webhook_deliveries/{waiting['id']}/redeliver")).status_code == 202
    await deliveries_in(api, endpoint, "delivered", 1)
    said = receiver.received[1].event["data"]
    assert (said["result_omitted"], "result" in said) == ("job_deleted", False)


async def _tried(api: httpx2.AsyncClient, endpoint: dict[str, Any]) -> list[Any] | None:
    found = (await api.get(f"/v1/webhook_endpoints/{endpoint['id']}/deliveries")).json()["data"]
    return found if found and found[0]["http_status"] == 500 else None


async def test_nothing_is_sent_for_an_endpoint_that_is_gone(
    api: httpx2.AsyncClient, tenant: Tenant, settings: Settings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    receiver = await stack.enter_async_context(receive(tenant.webhook_secret))
    endpoint = await register(api, receiver, event_types=["job.queued"])
    for _ in range(3):
        await api.post("/v1/jobs", json={"model": "echo/echo", "input": "hi"})
    (first, *_) = await deliveries_in(api, endpoint, "pending", 3)
    await owner.execute(LOGGED)
    path = f"/v1/webhook_endpoints/{endpoint['id']}"
    assert (await api.delete(path)).status_code == 200
    assert (await api.get(path)).status_code == 404
    assert (await api.get(f"/v1/webhook_deliveries/{first['id']}")).status_code == 404
    assert (await api.post(f"/v1/webhook_deliveries/{first['id']}/redeliver")).status_code == 404
    assert (await api.get(f"/v1/jobs/{first['job_id']}/deliveries")).json()["data"] == []
    worker = await stack.enter_async_context(run_worker(settings))
    none_waits = "SELECT count(*) = 0 FROM deliveries WHERE state = 'pending'"
    gone = GoneEndpoints(worker.runtime.database)
    # Whoever asks for one is refused it; not even with the tenant's own secret does it go out.
    await eventually(lambda: owner.fetchval(none_waits), what="the worker was refused them")
    assert (receiver.received, receiver.unverified) == ([], 0)
    while await gone.prune():
        pass
    assert await owner.fetchval("SELECT count(*) FROM deliveries") == 0
    assert await owner.fetchval("SELECT count(*) FROM delivery_attempts") == 0


async def test_a_large_log_goes_in_batches_whoever_goes_on(
    worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    # In the order in which they are gone through: ids made within one millisecond have none of their own.
    kept, *deleted = sorted([await owner.fetchval(ENDPOINT, tenant.id, "https://a.example/", EVERY) for _ in range(3)])
    for endpoint, count in ((kept, 10), (deleted[0], BATCH + 50), (deleted[1], 20)):
        await owner.execute(MANY, tenant.id, endpoint, "https://a.example/", count)
    await owner.execute(LOGGED)
    # On its way right now: whoever counts what is in flight must see it until then.
    sending = await owner.fetchval(
        "UPDATE deliveries SET lease_token = gen_random_uuid(), lease_expires_at = now() + interval '1 h'"
        " WHERE id = (SELECT min(id::text)::uuid FROM deliveries WHERE endpoint_id = $1) RETURNING id",
        deleted[1],
    )
    await owner.execute("DELETE FROM webhook_endpoints WHERE id = ANY ($1)", deleted)
    counts = []
    # A new one each time, as after a crash.
    for _ in range(2):
        await GoneEndpoints(worker_runtime.database).prune()
        counts.append(await owner.fetchval("SELECT count(*) FROM deliveries WHERE endpoint_id = $1", deleted[0]))
    assert counts == [50, 0]
    gone = GoneEndpoints(worker_runtime.database)
    while await gone.prune():
        pass
    left = await owner.fetch("SELECT endpoint_id, id FROM deliveries WHERE endpoint_id <> $1", kept)
    assert [row["id"] for row in left] == [sending]
    assert await owner.fetchval("SELECT count(*) FROM delivery_attempts") == 11


async def test_a_jobs_end_does_not_wait_for_who_deletes_an_endpoint(
    worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    """And the delivery that it makes meanwhile is not sent, and goes as the others."""
    endpoint = await owner.fetchval(ENDPOINT, tenant.id, "https://a.example/", EVERY)
    async with hot_statement(worker_runtime.database) as connection:
        job_id = await jobs.insert(connection, tenant.id)
        (job,) = await jobs.claim(connection, [job_id])
    change = Change(
        job.id, tenant.id, transitions.succeed(jobs.answer()), job.run_no, job.lease_token, jobs.UNSEALED_OUTPUT
    )
    async with owner.acquire() as deleting, deleting.transaction():
        await deleting.execute("DELETE FROM webhook_endpoints WHERE id = $1", endpoint)
        applied = await asyncio.wait_for(worker_runtime.jobs.group_commit.apply(change), 5)
    assert applied is not None
    (delivery_id,) = applied.delivery_ids
    assert await worker_runtime.deliveries.claim(delivery_id) is None
    assert await owner.fetchval("SELECT state FROM deliveries WHERE id = $1", delivery_id) == "skipped"
    gone = GoneEndpoints(worker_runtime.database)
    while await gone.prune():
        pass
    assert await owner.fetchval("SELECT count(*) FROM deliveries") == 0


async def test_a_paid_answer_outlives_a_foreign_key_violation(
    api: httpx2.AsyncClient, settings: Settings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    await owner.execute(
        """
        CREATE SEQUENCE fk_violations;
        GRANT USAGE ON fk_violations TO inferd_app;
        CREATE FUNCTION violate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('fk_violations') <= 2 THEN RAISE foreign_key_violation; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER violate BEFORE INSERT ON results FOR EACH ROW EXECUTE FUNCTION violate();
        """
    )
    try:
        await stack.enter_async_context(run_worker(settings))
        job = await run_job(api)
        assert (job["status"], job["attempts_used"]) == ("succeeded", 1)
    finally:
        await owner.execute("DROP FUNCTION violate() CASCADE; DROP SEQUENCE fk_violations")


async def test_where_it_goes_is_the_endpoints_to_say_when_it_goes(
    api: httpx2.AsyncClient, settings: Settings, owner: OwnerPool, stack: AsyncExitStack
) -> None:
    """Also to another host, and to nobody when it is disabled; whatever the waiting rows still say."""
    old, new = [await stack.enter_async_context(receive("")) for _ in range(2)]
    endpoint = await register(api, old, event_types=["job.queued"])
    new.secret = old.secret
    for _ in range(3):
        await api.post("/v1/jobs", json={"model": "echo/echo", "input": "hi"})
    made = await deliveries_in(api, endpoint, "pending", 3)
    row = UUID(endpoint["id"].removeprefix("we_"))
    # Behind the routes' back, so that no row is changed with it.
    await owner.execute(
        "UPDATE webhook_endpoints SET url = $2 WHERE id = $1", row, new.url.replace("127.", "localhost.")
    )
    await owner.execute("UPDATE webhook_endpoints SET url = $2 WHERE id = $1", row, new.url)
    await owner.execute("UPDATE deliveries SET url = replace(url, '127.0.0.1', '127.0.0.9')")
    await stack.enter_async_context(run_worker(settings))
    await deliveries_in(api, endpoint, "delivered", 3)
    assert (len(new.received), new.unverified, old.received) == (3, 0, [])
    assert (await detail(api, made[0]["id"]))["url"] == new.url
    await owner.execute("UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'caller' WHERE id = $1", row)
    await owner.execute("UPDATE deliveries SET state = 'pending', delivered_at = NULL, next_attempt_at = now()")
    await deliveries_in(api, endpoint, "skipped", 3)
    assert len(new.received) == 3


async def test_a_long_backlog_is_skipped_and_moved_in_batches(
    api: httpx2.AsyncClient, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool, running: RunningApi
) -> None:
    async with receive("") as receiver:
        endpoint = await register(api, receiver)
    row, count = UUID(endpoint["id"].removeprefix("we_")), 2 * SETTLED_AT_ONCE + 100
    await owner.execute(MANY, tenant.id, row, receiver.url, count)
    path = f"/v1/webhook_endpoints/{endpoint['id']}"

    async def of(column: str, value: str) -> int:
        return int(await owner.fetchval(f"SELECT count(*) FROM deliveries WHERE {column} = $1", value))

    elsewhere = receiver.url.replace("127.0.0.1", "127.0.0.9")
    assert (await api.post(path, json={"url": elsewhere})).status_code == 200
    assert await of("host", "127.0.0.9") == SETTLED_AT_ONCE
    assert await settle_endpoints(worker_runtime.database) == 2
    assert await of("url", elsewhere) == count
    assert (await api.post(f"{path}/disable")).status_code == 200
    assert await of("state", "skipped") == SETTLED_AT_ONCE
    assert await settle_endpoints(worker_runtime.database) == 2
    assert await of("state", "skipped") == count
    assert await owner.fetchval("SELECT unsettled_at FROM webhook_endpoints WHERE id = $1", row) is None
    assert await settle_endpoints(worker_runtime.database) == 0


async def test_nothing_is_sent_more_often_than_the_log_can_count(
    api: httpx2.AsyncClient, worker_runtime: WorkerRuntime, tenant: Tenant, owner: OwnerPool
) -> None:
    async with receive("") as receiver:
        endpoint = await register(api, receiver)
    row = UUID(endpoint["id"].removeprefix("we_"))
    await owner.execute(MANY, tenant.id, row, receiver.url, 2)
    await owner.execute("UPDATE deliveries SET state = 'exhausted'")
    most, few = [each["id"] for each in await deliveries_in(api, endpoint, "exhausted", 2)]
    await owner.execute(
        "UPDATE deliveries SET attempts = $2 WHERE id = $1", UUID(most.removeprefix("dlv_")), MOST_ATTEMPTS
    )
    refused = await api.post(f"/v1/webhook_deliveries/{most}/redeliver")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert "10000 times" in refused.json()["error"]["message"]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    await api.post(f"/v1/webhook_endpoints/{endpoint['id']}/recover", json={"since": since})
    async with run_worker(worker_runtime.settings):
        pending = "SELECT array_agg(id) FROM deliveries WHERE state = 'pending'"
        assert await eventually(lambda: owner.fetchval(pending)) == [UUID(few.removeprefix("dlv_"))]
