"""Sends one delivery again, by hand. Called by the routes.

The claim is the same as the schedule's, so the two can't both send it.
"""

from typing import Final

from core.db.engine import Database
from core.db.session import transaction
from core.db.statements import Statement
from core.domain.clock import Clock
from core.domain.errors import Conflict
from core.domain.ids import DeliveryId, EndpointId, TenantId
from core.queue.enqueue import Enqueuer, delivery_entry
from core.webhooks.deliveries import queries
from core.webhooks.deliveries.store import MOST_ATTEMPTS
from core.webhooks.endpoints.queries import endpoint_row

REQUEUE: Final = Statement("core/webhooks/sql/requeue.sql")


async def redeliver(
    database: Database, enqueuer: Enqueuer, clock: Clock, tenant_id: TenantId, delivery_id: DeliveryId
) -> None:
    """Makes one more attempt, now, whatever its status. Raises NotFound, or Conflict when it can't be sent."""
    async with transaction(database, tenant_id) as session:
        row = await queries.delivery_row(session, tenant_id, delivery_id, lock=True)
        if row.lease_expires_at is not None and row.lease_expires_at > clock.now():
            raise Conflict("The delivery is being sent right now. Look again in a moment.")
        if row.attempts >= MOST_ATTEMPTS:
            raise Conflict(
                f"The delivery has been sent {row.attempts} times, which is the most. Look at its log for why."
            )
        if row.endpoint_id is not None:
            endpoint = await endpoint_row(session, tenant_id, EndpointId(row.endpoint_id))
            if not endpoint.enabled:
                raise Conflict("The webhook endpoint is disabled. Enable it first.")
        await REQUEUE.run(session, id=delivery_id, tenant_id=tenant_id)
    enqueuer.enqueue(delivery_entry(delivery_id, tenant_id))
