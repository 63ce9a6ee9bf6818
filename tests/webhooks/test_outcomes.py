"""What follows from each answer: the next state, the next attempt, and what the endpoint is spared."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any
from uuid import UUID

import httpx2
import pytest
from aiohttp import web

from core.domain.ids import DeliveryId, EndpointId, EventId, JobId, LeaseToken, TenantId, new_uuid
from core.queue.enqueue import delivery_entry
from core.runtime import WorkerRuntime
from core.settings import Settings
from core.webhooks.deliveries import deliver
from core.webhooks.deliveries.records import ClaimedDelivery, Ended
from core.webhooks.deliveries.schedule import WAITS
from core.webhooks.egress.exchange import Answered, NoAnswer, Problem, Timing
from tests.conftest import MakeSettings, OwnerPool
from tests.support.processes import RunningWorker, run_worker
from tests.support.receiver import receive
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.webhooks.conftest import LOCAL
from tests.webhooks.steps import deliveries_in, detail, register, run_job


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """With the published schedule."""
    return make_settings(webhook=LOCAL | {"retry_seconds": []}, worker={"sweep_seconds": 0.3})


def delivery(**changes: Any) -> ClaimedDelivery:
    given: dict[str, Any] = {
        "id": DeliveryId(new_uuid()), "tenant_id": TenantId(new_uuid()), "endpoint_id": EndpointId(new_uuid()),
        "job_id": JobId(new_uuid()), "lease_token": LeaseToken(new_uuid()), "event_id": EventId(new_uuid()),
        "event_type": "job.succeeded", "url": "https://example.com/", "host": "example.com", "body": b"{}",
        "attempts": 1, "slots_used": 1, "trigger": "scheduled", "secret": b"", "retired_secrets": (),
        "includes_result": False, "result_is_gone": False, "output": None,
    }  # fmt: skip
    return ClaimedDelivery(**(given | changes))


def answered(status: int, retry_after: str | None = None, date: str | None = None) -> Answered:
    return Answered(status, retry_after, date, b"", public=True, timing=Timing(total_ms=1.0))


def outcome(runtime: WorkerRuntime, answer: Answered | NoAnswer, **changes: Any) -> Ended:
    return deliver._ended(runtime.deliveries, delivery(**changes), datetime.now(UTC), answer)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_a_delivery(worker_runtime: WorkerRuntime, status: int) -> None:
    ended = outcome(worker_runtime, answered(status))
    assert (ended.state, ended.status, ended.error, ended.delay) == ("delivered", status, None, None)


@pytest.mark.parametrize(
    ("status", "error", "least"),
    [(300, "redirect", 4), (301, "redirect", 4), (302, "redirect", 4), (307, "redirect", 4), (308, "redirect", 4),
     (400, "status", 4), (401, "status", 4), (403, "status", 4), (404, "status", 4), (500, "status", 4),
     (503, "status", 4), (429, "status", 60), (502, "status", 60), (504, "status", 60), (999, "status", 4)],
)  # fmt: skip
def test_another_status_is_tried_again(worker_runtime: WorkerRuntime, status: int, error: str, least: int) -> None:
    ended = outcome(worker_runtime, answered(status))
    assert (ended.state, ended.status, ended.error) == ("pending", status, error)
    assert ended.delay is not None
    assert least <= ended.delay <= max(6, least)


@pytest.mark.parametrize(
    ("problem", "least"), [("unreachable", 4), ("tls", 4), ("timeout", 60), ("reset", 4), ("protocol", 4)]
)
def test_no_answer_is_tried_again(worker_runtime: WorkerRuntime, problem: Problem, least: int) -> None:
    ended = outcome(worker_runtime, NoAnswer(problem, "whatever", Timing(dns_ms=1.0, total_ms=2.0)))
    assert (ended.state, ended.status, ended.error) == ("pending", None, problem)
    assert ended.delay is not None
    assert least <= ended.delay <= max(6, least)
    # An attempt that reached nobody does not say how long that took.
    assert (ended.timing == Timing()) is (problem == "unreachable")


def test_410_is_the_end(worker_runtime: WorkerRuntime) -> None:
    ended = outcome(worker_runtime, answered(410))
    assert (ended.state, ended.error, ended.delay) == ("exhausted", "gone", None)


IN_40_SECONDS = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("30", 60, 60), ("59.5", 60, 60), pytest.param(IN_40_SECONDS, 60, 60, id="a date"),
     ("garbage", 60, 60), ("", 60, 60), ("-5", 60, 60), ("1000000000", 60, 60), ("1e400", 60, 60), ("nan", 60, 60), ("1_0", 60, 60), ("Wed, 99 Foo 2026", 60, 60)],
)  # fmt: skip
def test_what_a_receiver_asks_for_is_bounded(worker_runtime: WorkerRuntime, said: str, least: int, most: int) -> None:
    ended = outcome(worker_runtime, answered(429, said))
    assert ended.delay is not None
    assert least <= ended.delay <= most + 0.001


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("400", 400, 400), ("600", 600, 600), ("86400", 600, 600), ("10", 240, 360),
     pytest.param(IN_40_SECONDS, 240, 360, id="a date")],
)  # fmt: skip
def test_a_later_attempt_grants_up_to_twice_the_plan(
    worker_runtime: WorkerRuntime, said: str, least: int, most: int
) -> None:
    ended = outcome(worker_runtime, answered(503, said), slots_used=2)
    assert ended.delay is not None
    assert least <= ended.delay <= most


def test_a_date_is_read_by_the_receivers_own_clock(worker_runtime: WorkerRuntime) -> None:
    slow = datetime(2020, 1, 1, tzinfo=UTC)
    said = [format_datetime(each, usegmt=True) for each in (slow + timedelta(seconds=500), slow)]
    ended = outcome(worker_runtime, answered(503, said[0], said[1]), slots_used=2)
    assert ended.delay == 500


def test_a_receiver_that_asks_for_peace_gets_it_as_a_whole(worker_runtime: WorkerRuntime) -> None:
    assert outcome(worker_runtime, answered(429, "7")).pause == 7
    assert outcome(worker_runtime, answered(503, "7000")).pause == 60
    assert outcome(worker_runtime, answered(429)).pause is None
    assert outcome(worker_runtime, answered(500, "7")).pause is None


def test_a_test_is_tried_once(worker_runtime: WorkerRuntime) -> None:
    ended = outcome(worker_runtime, answered(500), trigger="test", slots_used=0)
    assert (ended.state, ended.delay) == ("exhausted", None)


async def test_ten_attempts_at_the_published_times(
    api: httpx2.AsyncClient, worker: RunningWorker, owner: OwnerPool, tenant: Tenant
) -> None:
    """The schedule end to end; where it would wait, time is moved on."""
    async with receive("", lambda _: web.Response(status=500)) as receiver:
        endpoint = await register(api, receiver)
        await run_job(api)
        (made,) = await eventually(lambda: _any(api, endpoint))
        row = UUID(made["id"].removeprefix("dlv_"))
        for number in range(1, 11):
            await eventually(partial(_with_log, api, made["id"], number), what=f"attempt {number}")
            await owner.execute("UPDATE deliveries SET next_attempt_at = now() WHERE id = $1", row)
            worker.runtime.jobs.enqueuer.enqueue(delivery_entry(DeliveryId(row), tenant.id))
        (exhausted,) = await deliveries_in(api, endpoint, "exhausted", 1)
        log = (await detail(api, exhausted["id"]))["log"]
    assert len({each.id for each in receiver.received}) == 1
    signatures = [each.headers["webhook-signature"] for each in receiver.received]
    stamps = [each.headers["webhook-timestamp"] for each in receiver.received]
    # A new signature whenever the time is another.
    assert len(set(signatures)) == len(set(stamps))
    assert receiver.unverified == 0
    for line, planned in zip(log, (*WAITS, None), strict=True):
        if planned is None:
            assert line["next_attempt_at"] is None
            continue
        wait = datetime.fromisoformat(line["next_attempt_at"]) - datetime.fromisoformat(line["started_at"])
        assert 0.8 * planned <= wait.total_seconds() <= 1.2 * planned + 2


async def _any(api: httpx2.AsyncClient, endpoint: dict[str, Any]) -> list[Any] | None:
    found = (await api.get(f"/v1/webhook_endpoints/{endpoint['id']}/deliveries")).json()["data"]
    return found or None


async def _with_log(api: httpx2.AsyncClient, delivery_id: str, count: int) -> bool:
    return len((await detail(api, delivery_id))["log"]) == count


async def test_a_429_spares_the_endpoint_not_only_the_delivery(
    api: httpx2.AsyncClient, settings: Settings, owner: OwnerPool
) -> None:
    answers = {1: web.Response(status=429, headers={"retry-after": "1"})}
    async with receive("", lambda n: answers.get(n, web.Response())) as receiver, run_worker(settings):
        endpoint = await register(api, receiver)
        await run_job(api)
        await eventually(lambda: _with_failures(api, endpoint))
        spared = "SELECT send_after > now() + interval '0.5 s' FROM webhook_endpoints"
        assert await owner.fetchval(spared) is True
        await run_job(api)
        until = await owner.fetchval("SELECT send_after FROM webhook_endpoints")
        await deliveries_in(api, endpoint, "delivered", 1)
        started = await owner.fetchval("SELECT max(started_at) FROM delivery_attempts")
    # A tenth of a second is the claim's tolerance.
    assert started >= until - timedelta(seconds=0.15)


async def _with_failures(api: httpx2.AsyncClient, endpoint: dict[str, Any]) -> bool:
    found: dict[str, Any] = (await api.get(f"/v1/webhook_endpoints/{endpoint['id']}")).json()
    return bool(found["failures"])
