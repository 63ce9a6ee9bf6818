"""The dependencies of deliveries, and their grouped statements. core/runtime.py makes one per worker for deliver.py."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import structlog

from core.db.engine import Database
from core.db.grouping import Grouper
from core.db.sealed import Sealer
from core.db.session import hot_statement, hot_transaction
from core.domain.clock import Clock
from core.domain.ids import DeliveryId, TenantId
from core.queue.enqueue import Enqueuer, delivery_entry
from core.settings import WebhookSettings
from core.webhooks.deliveries import store
from core.webhooks.deliveries.records import Caps, ClaimedDelivery, DeliveryNotDue, Ended, PutBack
from core.webhooks.deliveries.schedule import WAITS
from core.webhooks.egress.health import Health
from core.webhooks.egress.post import Egress

# Time to record the outcome before the lease ends; less where exchanges are short.
_LEASE_MARGIN_SECONDS: Final = 10.0

Claimed = ClaimedDelivery | DeliveryNotDue | None

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliverContext:
    """`sending` counts the deliveries of each tenant that this worker has claimed and not finished."""

    claims: Grouper[DeliveryId, Claimed]
    records: Grouper[Ended, bool]
    put_backs: Grouper[PutBack, bool]
    egress: Egress
    sealer: Sealer
    clock: Clock
    enqueuer: Enqueuer
    health: Health
    waits: Sequence[float]
    margin_seconds: float
    sending: Counter[TenantId] = field(default_factory=Counter)

    def done(self, tenant_id: TenantId) -> None:
        """One delivery of the tenant is finished."""
        self.sending[tenant_id] -= 1
        if self.sending[tenant_id] <= 0:
            del self.sending[tenant_id]


def open_deliveries(
    database: Database,
    egress: Egress,
    sealer: Sealer,
    clock: Clock,
    enqueuer: Enqueuer,
    settings: WebhookSettings,
    *,
    worker_id: str,
) -> DeliverContext:
    """A lease is longer than an exchange may last, so that no second sender starts during it."""
    margin_seconds = min(_LEASE_MARGIN_SECONDS, max(1.0, settings.timeout_seconds))
    health, sending = Health(quota=max(1, settings.concurrency // 2)), Counter[TenantId]()

    async def claim(ids: Sequence[DeliveryId]) -> list[Claimed]:
        caps = Caps(
            per_target=settings.per_endpoint,
            per_host=settings.per_host,
            suspects=health.suspects(),
            suspect_room=health.room(),
            per_tenant=tenant_cap(settings),
            sending=sending,
        )
        outcomes = await _claim(database, ids, caps, lease_seconds=settings.timeout_seconds + margin_seconds)
        # Before the next claim counts.
        sending.update(each.tenant_id for each in outcomes if isinstance(each, ClaimedDelivery))
        return outcomes

    async def record(rows: Sequence[Ended]) -> list[bool]:
        return await _write(database, enqueuer, rows, worker_id=worker_id, per_target=settings.per_endpoint)

    async def put_back(rows: Sequence[PutBack]) -> list[bool]:
        async with hot_statement(database) as connection:
            written = await store.put_back(connection, rows)
        return [row.delivery.id in written for row in rows]

    return DeliverContext(
        claims=Grouper("delivery_claim", claim),
        records=Grouper("delivery_record", record),
        put_backs=Grouper("delivery_put_back", put_back),
        egress=egress,
        sealer=sealer,
        clock=clock,
        enqueuer=enqueuer,
        health=health,
        waits=settings.retry_seconds or WAITS,
        margin_seconds=margin_seconds,
        sending=sending,
    )


def tenant_cap(settings: WebhookSettings) -> int:
    """How many deliveries of one tenant a worker process may have in flight."""
    if settings.per_tenant < 1:
        return max(1, int(settings.per_tenant * settings.concurrency))
    return int(settings.per_tenant)


async def _claim(database: Database, ids: Sequence[DeliveryId], caps: Caps, *, lease_seconds: float) -> list[Claimed]:
    # A claim that a crash of PostgreSQL undoes is made again.
    opening = "SET LOCAL synchronous_commit = off"
    try:
        async with hot_transaction(database, None, opening, store.CLAIM_ALONE) as connection:
            return await store.claim(connection, ids, caps, lease_seconds=lease_seconds)
    except asyncpg.LockNotAvailableError:
        # Another transaction keeps the lock. Exceeding the caps for a moment is better than no webhooks at all.
        log.warning("webhook_claim_lock_is_held", count=len(ids))
    async with hot_transaction(database, None, opening) as connection:
        return await store.claim(connection, ids, caps, lease_seconds=lease_seconds)


async def _write(
    database: Database, enqueuer: Enqueuer, rows: Sequence[Ended], *, worker_id: str, per_target: int
) -> list[bool]:
    async with hot_transaction(database, None) as connection:
        batch = await store.record(connection, rows, worker_id=worker_id)
        published = await store.publish_disabled(connection, batch.disabled)
        following = await store.successors(connection, batch, per_target=per_target)
    enqueuer.enqueue(*(delivery_entry(each.id, each.tenant_id, each.delay) for each in (*following, *published)))
    for each in batch.disabled:
        log.warning("webhook_endpoint_disabled", endpoint_id=each.id.hex, reason=each.reason, failures=each.failures)
    return [row.delivery.id in batch.written for row in rows]
