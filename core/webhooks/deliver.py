"""Stop 9 of 9 · from worker/tasks/deliver_webhook.py · to the receiver

Sends one delivery and records how it went: lease it, sign it, POST it with no transaction open, write the outcome under
the lease's token. A sender that dies is taken over when its lease runs out; the receiver then sees the same
`webhook-id` twice and can tell.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, assert_never

import structlog

from core.access.webhook_secrets import open_secret
from core.db.batching import Batcher
from core.db.engine import Database
from core.db.sealed import SealBroken, Sealer
from core.db.session import hot_transaction
from core.domain.clock import Clock
from core.domain.ids import DELIVERY, EVENT, DeliveryId, show
from core.observability.context import bound
from core.observability.metrics import DELIVERIES, DELIVERY_TIME
from core.webhooks import store
from core.webhooks.egress import Answered, Egress, NoAnswer
from core.webhooks.schedule import next_wait
from core.webhooks.signing import sign
from core.webhooks.store import ClaimedDelivery, DeliveryNotDue, Recorded

_THROTTLING: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
_LEASE_MARGIN_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliverContext:
    """What a delivery is handed: made by core/runtime.py, once per worker."""

    claims: Batcher[DeliveryId, ClaimedDelivery | DeliveryNotDue | None]
    records: Batcher[Recorded, bool]
    egress: Egress
    sealer: Sealer
    clock: Clock


def open_deliveries(
    database: Database, egress: Egress, sealer: Sealer, clock: Clock, *, timeout: float
) -> DeliverContext:
    """`timeout` is a whole exchange's, in seconds; a lease is longer, so that no second sender starts during it."""
    lease_seconds = timeout + _LEASE_MARGIN_SECONDS

    async def claim(ids: Sequence[DeliveryId]) -> list[ClaimedDelivery | DeliveryNotDue | None]:
        async with hot_transaction(database, None) as connection:
            return await store.claim(connection, ids, lease_seconds=lease_seconds)

    async def record(rows: Sequence[Recorded]) -> list[bool]:
        async with hot_transaction(database, None) as connection:
            return await store.record(connection, rows)

    return DeliverContext(Batcher("delivery_claim", claim), Batcher("delivery_record", record), egress, sealer, clock)


async def deliver_webhook(context: DeliverContext, delivery_id: DeliveryId) -> float | None:
    """One attempt. Answers after how many seconds the next one is due, or None."""
    match await context.claims.submit(delivery_id):
        case None:
            return None
        case DeliveryNotDue(seconds=seconds):
            return seconds
        case ClaimedDelivery() as delivery:
            with bound(delivery_id=show(DELIVERY, delivery.id), attempt=delivery.attempts):
                recorded = await _attempt(context, delivery)
                written = await context.records.submit(recorded)
                DELIVERIES.labels(outcome=recorded.state).inc()
                log.info("webhook_attempt", state=recorded.state, status=recorded.status, error=recorded.error)
                return recorded.delay if written else None


async def _attempt(context: DeliverContext, delivery: ClaimedDelivery) -> Recorded:
    try:
        secret = open_secret(context.sealer, delivery.secret, delivery.tenant_id, delivery.endpoint_id)
    except SealBroken:
        log.exception("webhook_secret_unreadable")
        return _tried_again(delivery, NoAnswer("broken"))
    timestamp = int(context.clock.now().timestamp())
    headers = {
        "content-type": "application/json",
        **sign(secret, show(EVENT, delivery.event_id), timestamp, delivery.body),
    }
    started = context.clock.monotonic()
    answer = await context.egress.post(delivery.url, headers, delivery.body)
    DELIVERY_TIME.observe(context.clock.monotonic() - started)
    match answer:
        case Answered(status=status) if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return Recorded(delivery.id, delivery.lease_token, "delivered", None, status, None)
        case NoAnswer(problem="blocked"):
            return Recorded(delivery.id, delivery.lease_token, "exhausted", None, None, "blocked")
        case Answered() | NoAnswer():
            return _tried_again(delivery, answer)
        case _ as never:
            assert_never(never)


def _tried_again(delivery: ClaimedDelivery, answer: Answered | NoAnswer) -> Recorded:
    rand = random.random()  # noqa: S311 - jitter is no secret
    match answer:
        case Answered(status=status, retry_after=wish):
            throttled = status in _THROTTLING
            wait = next_wait(delivery.attempts, rand, retry_after=_seconds(wish), throttled=throttled)
            redirect = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
            return _failed(delivery, wait, status, "redirect" if redirect else "status")
        case NoAnswer(problem=problem):
            wait = next_wait(delivery.attempts, rand, throttled=problem == "timeout")
            return _failed(delivery, wait, None, problem)
        case _ as never:
            assert_never(never)


def _failed(delivery: ClaimedDelivery, wait: float | None, status: int | None, error: str) -> Recorded:
    state = "exhausted" if wait is None else "pending"
    return Recorded(delivery.id, delivery.lease_token, state, wait, status, error)


def _seconds(text: str | None) -> float | None:
    """Retry-After in whole seconds; its other form and garbage are ignored."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - longer ones are garbage
