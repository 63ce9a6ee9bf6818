"""Stop 9 of 9 · from worker/tasks/deliver_webhook.py · to the receiver

Sends one delivery and records how it went: lease it, sign it, POST it with no transaction open, write the outcome under
the lease's token, ring for those that waited behind it. A sender that dies is taken over when its lease runs out; the
receiver then sees the same `webhook-id` twice and can tell.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final, assert_never

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from core.access.webhook_secrets import open_secret
from core.db.batching import Batcher, Overloaded
from core.db.engine import Database
from core.db.faults import STORE_FAULTS
from core.db.sealed import SealBroken, Sealer
from core.db.session import hot_transaction
from core.domain.clock import Clock
from core.domain.ids import DELIVERY, EVENT, DeliveryId, EventId, new_uuid, show
from core.observability.context import bound
from core.observability.metrics import DELIVERIES, DELIVERY_TIME, count
from core.queue.ring import Ring, ring_delivery
from core.settings import WebhookSettings
from core.webhooks import store
from core.webhooks.egress import Egress
from core.webhooks.events import DISABLED, disabled_event
from core.webhooks.exchange import Answered, NoAnswer, Timing
from core.webhooks.health import Health
from core.webhooks.payload import body_of
from core.webhooks.records import Caps, ClaimedDelivery, DeliveryNotDue, Ended, Successor
from core.webhooks.schedule import WAITS, next_wait
from core.webhooks.signing import sign

_THROTTLING: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
# For what follows the exchange; less where exchanges are short.
_LEASE_MARGIN_SECONDS: Final = 10.0
# A receiver that says 429 or 503 is left alone as a whole, not only by the delivery that it said it to.
_PAUSING: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_LONGEST_PAUSE_SECONDS: Final = 60.0
_SILENT: Final = {"unreachable", "timeout"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliverContext:
    """What a delivery is handed: made by core/runtime.py, once per worker."""

    claims: Batcher[DeliveryId, ClaimedDelivery | DeliveryNotDue | None]
    records: Batcher[Ended, bool]
    egress: Egress
    sealer: Sealer
    clock: Clock
    ring: Ring
    health: Health
    waits: Sequence[float]
    margin_seconds: float


def open_deliveries(
    database: Database,
    egress: Egress,
    sealer: Sealer,
    clock: Clock,
    ring: Ring,
    settings: WebhookSettings,
    *,
    worker_id: str,
) -> DeliverContext:
    """A lease is longer than an exchange may last, so that no second sender starts during it."""
    margin_seconds = min(_LEASE_MARGIN_SECONDS, max(1.0, settings.timeout_seconds))
    lease_seconds = settings.timeout_seconds + margin_seconds
    health = Health(quota=max(1, settings.concurrency // 2))

    async def claim(ids: Sequence[DeliveryId]) -> list[ClaimedDelivery | DeliveryNotDue | None]:
        caps = Caps(settings.per_endpoint, settings.per_host, health.suspects(), health.room())
        # A claim that a crash of PostgreSQL undoes is made again.
        opening = ("SET LOCAL synchronous_commit = off", store.CLAIM_ALONE)
        async with hot_transaction(database, None, *opening) as connection:
            return await store.claim(connection, ids, caps, lease_seconds=lease_seconds)

    async def record(rows: Sequence[Ended]) -> list[bool]:
        told: list[DeliveryId] = []
        async with hot_transaction(database, None) as connection:
            batch = await store.record(connection, rows, worker_id=worker_id)
            if batch.disabled:
                await store.skip(connection, [(each.id, each.tenant_id) for each in batch.disabled])
                ids = [EventId(new_uuid()) for _ in batch.disabled]
                events = [
                    (each, event_id, disabled_event(event_id, each, clock.now()))
                    for each, event_id in zip(batch.disabled, ids, strict=True)
                ]
                told = await store.tell_disabled(connection, DISABLED, events)
            following = await store.successors(connection, batch, per_target=settings.per_endpoint)
        _ring(ring, following, told)
        for each in batch.disabled:
            log.warning(
                "webhook_endpoint_disabled", endpoint_id=each.id.hex, reason=each.reason, failures=each.failures
            )
        return [row.delivery.id in batch.written for row in rows]

    return DeliverContext(
        claims=Batcher("delivery_claim", claim),
        records=Batcher("delivery_record", record),
        egress=egress,
        sealer=sealer,
        clock=clock,
        ring=ring,
        health=health,
        waits=settings.retry_seconds or WAITS,
        margin_seconds=margin_seconds,
    )


def _ring(ring: Ring, following: Sequence[Successor], told: Sequence[DeliveryId]) -> None:
    ring.ring(*(ring_delivery(each.id, each.delay) for each in following), *map(ring_delivery, told))


async def deliver_webhook(context: DeliverContext, delivery_id: DeliveryId) -> float | None:
    """One attempt. Answers after how many seconds the next one is due, or None."""
    match await context.claims.submit(delivery_id):
        case None:
            return None
        case DeliveryNotDue(seconds=seconds):
            return seconds
        case ClaimedDelivery() as delivery:
            with bound(delivery_id=show(DELIVERY, delivery.id), attempt=delivery.attempts):
                ended = await _attempt(context, delivery)
                written = await _record(context, ended)
                count(DELIVERIES, ended.state)
                log.info("webhook_attempt", state=ended.state, status=ended.status, error=ended.error)
                return ended.delay if written else None


async def _record(context: DeliverContext, ended: Ended) -> bool:
    """Tries for as long as the lease may hold: what is not recorded is sent again."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type((*STORE_FAULTS, Overloaded)),
        wait=wait_random_exponential(multiplier=0.1, max=1.0),
        stop=stop_after_delay(context.margin_seconds),
        reraise=True,
    ):
        with attempt:
            return await context.records.submit(ended)
    raise AssertionError("retries end by an answer or an exception")


async def _attempt(context: DeliverContext, delivery: ClaimedDelivery) -> Ended:
    started_at = context.clock.now()
    try:
        body = body_of(context.sealer, delivery)
        secrets = [
            open_secret(context.sealer, each, delivery.tenant_id, delivery.endpoint_id)
            for each in (delivery.secret, *delivery.retired_secrets)
        ]
    except SealBroken:
        log.exception("webhook_unreadable")
        return _failed(context, delivery, started_at, Timing(), error="unreadable")
    timestamp = int(started_at.timestamp())
    headers = sign(secrets[0], show(EVENT, delivery.event_id), timestamp, body, *secrets[1:])
    context.health.begins(delivery.host)
    silent = False
    try:
        answer = await context.egress.post(delivery.url, {"content-type": "application/json", **headers}, body)
        silent = isinstance(answer, NoAnswer) and answer.problem in _SILENT
    finally:
        context.health.ended(delivery.host, silent=silent)
    if answer.timing.total_ms is not None:
        DELIVERY_TIME.observe(answer.timing.total_ms / 1000)
    return _ended(context, delivery, started_at, answer)


def _ended(
    context: DeliverContext, delivery: ClaimedDelivery, started_at: datetime, answer: Answered | NoAnswer
) -> Ended:
    match answer:
        case Answered(is_success=True, status=status, timing=timing):
            return Ended(delivery, "delivered", started_at, timing, status=status, excerpt=answer.excerpt())
        case Answered(status=HTTPStatus.GONE as status, timing=timing):
            return Ended(
                delivery, "exhausted", started_at, timing, status=status, error="gone", excerpt=answer.excerpt()
            )
        case Answered(status=status):
            redirect = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
            return _failed(
                context,
                delivery,
                started_at,
                answer.timing,
                answer=answer,
                error="redirect" if redirect else "status",
                throttled=status in _THROTTLING,
            )
        case NoAnswer(problem=problem, reason=reason):
            log.info("webhook_no_answer", problem=problem, reason=reason)
            throttled = problem == "timeout"
            return _failed(context, delivery, started_at, answer.told_timing(), error=problem, throttled=throttled)
        case _ as never:
            assert_never(never)


def _failed(
    context: DeliverContext,
    delivery: ClaimedDelivery,
    started_at: datetime,
    timing: Timing,
    *,
    error: str,
    answer: Answered | None = None,
    throttled: bool = False,
) -> Ended:
    rand = random.random()  # noqa: S311 - jitter is no secret
    wish = answer.wish(context.clock) if answer else None
    wait = next_wait(delivery.slots_used, rand, retry_after=wish, throttled=throttled, waits=context.waits)
    if delivery.trigger == "test":
        wait = None
    return Ended(
        delivery,
        "exhausted" if wait is None else "pending",
        started_at,
        timing,
        delay=wait,
        status=answer.status if answer else None,
        error=error,
        pause=_pause(answer, wish),
        retry_after=wish,
        excerpt=answer.excerpt() if answer else None,
    )


def _pause(answer: Answered | None, wish: float | None) -> float | None:
    if answer is None or answer.status not in _PAUSING or wish is None:
        return None
    return min(wish, _LONGEST_PAUSE_SECONDS)
