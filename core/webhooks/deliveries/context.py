"""The dependencies of deliveries, and their hot statements, each for many callers at once: one method a statement.

core/runtime.py makes one per worker for deliver.py. What a group has committed is enqueued before its callers go on:
the deliveries that waited behind those that ended, and those that say that an endpoint was disabled.
"""

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


@dataclass(slots=True)
class DeliverContext:
    """`sending` counts the deliveries of each tenant that this worker has claimed and not finished.

    What waits for PostgreSQL raises Overloaded, or what PostgreSQL raised for this row.
    """

    database: Database
    egress: Egress
    sealer: Sealer
    clock: Clock
    enqueuer: Enqueuer
    settings: WebhookSettings
    worker_id: str
    health: Health = field(init=False)
    sending: Counter[TenantId] = field(init=False, default_factory=Counter)
    _claims: Grouper[DeliveryId, Claimed] = field(init=False)
    _records: Grouper[Ended, bool] = field(init=False)
    _put_backs: Grouper[PutBack, bool] = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health(quota=max(1, self.settings.concurrency // 2))
        self._claims = Grouper("delivery_claim", self._claim_group)
        self._records = Grouper("delivery_record", self._record_group)
        self._put_backs = Grouper("delivery_put_back", self._put_back_group)

    @property
    def waits(self) -> Sequence[float]:
        """Seconds between the attempts at a delivery."""
        return self.settings.retry_seconds or WAITS

    @property
    def margin_seconds(self) -> float:
        """How much longer a lease is than an exchange may last, so that no second sender starts during it."""
        return min(_LEASE_MARGIN_SECONDS, max(1.0, self.settings.timeout_seconds))

    async def claim(self, delivery_id: DeliveryId) -> Claimed:
        """Claims the delivery. None: it is done, another sends it, or it has to wait its turn."""
        return await self._claims.submit(delivery_id)

    async def record(self, ended: Ended) -> bool:
        """Writes how an attempt ended; False when the delivery was no longer this sender's."""
        return await self._records.submit(ended)

    async def put_back(self, unsent: PutBack) -> bool:
        """Gives up a lease under which nothing was sent; False when it was no longer this sender's."""
        return await self._put_backs.submit(unsent)

    def done(self, tenant_id: TenantId) -> None:
        """One delivery of the tenant is finished."""
        self.sending[tenant_id] -= 1
        if self.sending[tenant_id] <= 0:
            del self.sending[tenant_id]

    async def _claim_group(self, ids: Sequence[DeliveryId]) -> list[Claimed]:
        outcomes = await self._claim_capped(ids)
        # Before the next claim counts.
        self.sending.update(each.tenant_id for each in outcomes if isinstance(each, ClaimedDelivery))
        return outcomes

    async def _claim_capped(self, ids: Sequence[DeliveryId]) -> list[Claimed]:
        caps = self._caps()
        lease_seconds = self.settings.timeout_seconds + self.margin_seconds
        # A claim that a crash of PostgreSQL undoes is made again.
        opening = "SET LOCAL synchronous_commit = off"
        try:
            async with hot_transaction(self.database, None, opening, store.CLAIM_ALONE) as connection:
                return await store.claim(connection, ids, caps, lease_seconds=lease_seconds)
        except asyncpg.LockNotAvailableError:
            # Another transaction keeps the lock. Exceeding the caps for a moment is better than no webhooks at all.
            log.warning("webhook_claim_lock_held", count=len(ids))
        async with hot_transaction(self.database, None, opening) as connection:
            return await store.claim(connection, ids, caps, lease_seconds=lease_seconds)

    def _caps(self) -> Caps:
        return Caps(
            per_target=self.settings.per_endpoint,
            per_host=self.settings.per_host,
            suspects=self.health.suspects(),
            suspect_room=self.health.room(),
            per_tenant=tenant_cap(self.settings),
            sending=self.sending,
        )

    async def _record_group(self, rows: Sequence[Ended]) -> list[bool]:
        async with hot_transaction(self.database, None) as connection:
            batch = await store.record(connection, rows, worker_id=self.worker_id)
            published = await store.publish_disabled(connection, batch.disabled)
            following = await store.successors(connection, batch, per_target=self.settings.per_endpoint)
        self.enqueuer.enqueue(
            *(delivery_entry(each.id, each.tenant_id, each.delay) for each in (*following, *published))
        )
        for each in batch.disabled:
            log.warning(
                "webhook_endpoint_disabled", endpoint_id=each.id.hex, reason=each.reason, failures=each.failures
            )
        return [row.delivery.id in batch.written for row in rows]

    async def _put_back_group(self, rows: Sequence[PutBack]) -> list[bool]:
        async with hot_statement(self.database) as connection:
            written = await store.put_back(connection, rows)
        return [row.delivery.id in written for row in rows]


def tenant_cap(settings: WebhookSettings) -> int:
    """How many deliveries of one tenant a worker process may have in flight."""
    if settings.per_tenant < 1:
        return max(1, int(settings.per_tenant * settings.concurrency))
    return int(settings.per_tenant)
