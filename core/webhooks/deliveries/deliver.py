"""Stop 9 of 9 · from worker/tasks/deliver_webhook.py · to the receiver

Sends one delivery and records how it went: lease it, sign it, POST it with no transaction open, write the outcome under
the lease's token, enqueue those that waited behind it. A sender that dies is taken over when its lease runs out; the
receiver then sees the same `webhook-id` twice and can ignore the second.
"""

import random
from datetime import datetime
from http import HTTPStatus
from typing import Final, assert_never

import asyncpg
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from core.access.webhook_secrets import open_secret
from core.db.faults import STORE_FAULTS
from core.db.grouping import Overloaded
from core.db.sealed import SealBroken
from core.domain.ids import DELIVERY, EVENT, DeliveryId, show
from core.domain.run_again import DONE, RunAgain, again_in
from core.observability.context import bound
from core.observability.metrics import DELIVERIES, DELIVERY_TIME, count
from core.webhooks.deliveries.context import DeliverContext
from core.webhooks.deliveries.payload import body_of
from core.webhooks.deliveries.records import ClaimedDelivery, DeliveryNotDue, Ended, PutBack
from core.webhooks.deliveries.schedule import next_wait
from core.webhooks.egress.exchange import Answered, NoAnswer, NoPlace, Timing
from core.webhooks.egress.signing import sign

_THROTTLING: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
# After 429 or 503 all deliveries to the endpoint pause, not only the one that got it.
_PAUSING: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_LONGEST_PAUSE_SECONDS: Final = 60.0
_SILENT: Final = {"unreachable", "timeout"}

log = structlog.get_logger(__name__)


async def deliver_webhook(context: DeliverContext, delivery_id: DeliveryId) -> RunAgain:
    """One attempt. Returns when the next one is due."""
    match await context.claim(delivery_id):
        case None:
            return DONE
        case DeliveryNotDue(seconds=seconds):
            return again_in(seconds)
        case ClaimedDelivery() as delivery:
            try:
                with bound(delivery_id=show(DELIVERY, delivery.id), attempt=delivery.attempts):
                    return await _deliver(context, delivery)
            finally:
                context.done(delivery.tenant_id)


async def _deliver(context: DeliverContext, delivery: ClaimedDelivery) -> RunAgain:
    match await _attempt(context, delivery):
        case PutBack() as unsent:
            log.info("webhook_put_back", seconds=unsent.delay)
            return again_in(unsent.delay) if await context.put_back(unsent) else DONE
        case Ended() as ended:
            written = await _record(context, ended)
            count(DELIVERIES, ended.state)
            log.info("webhook_attempt", status=ended.state, http_status=ended.status, error=ended.error)
            return DONE if ended.delay is None or not written else again_in(ended.delay)


async def _record(context: DeliverContext, ended: Ended) -> bool:
    """Tries for as long as the lease may hold: what is not recorded is sent again."""
    async for attempt in AsyncRetrying(
        # A delivery that goes with its endpoint at this moment leaves nothing to be recorded the next time.
        retry=retry_if_exception_type((*STORE_FAULTS, Overloaded, asyncpg.ForeignKeyViolationError)),
        wait=wait_random_exponential(multiplier=0.1, max=1.0),
        stop=stop_after_delay(context.margin_seconds),
        reraise=True,
    ):
        with attempt:
            return await context.record(ended)
    raise AssertionError("retries end with a result or an exception")


async def _attempt(context: DeliverContext, delivery: ClaimedDelivery) -> Ended | PutBack:
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
        answer = await context.egress.post(
            delivery.url, {"content-type": "application/json", **headers}, body, tenant_id=delivery.tenant_id
        )
        silent = isinstance(answer, NoAnswer) and answer.problem in _SILENT
    finally:
        context.health.ended(delivery.host, delivery.tenant_id, silent=silent)
    if isinstance(answer, NoPlace):
        return PutBack(delivery, answer.seconds)
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
            log.info("webhook_no_response", problem=problem, reason=reason)
            throttled = problem == "timeout"
            return _failed(context, delivery, started_at, answer.visible_timing(), error=problem, throttled=throttled)
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
