"""Sends one sample event to an endpoint and waits for its response. Called by the routes.

The sample is sent as every delivery is, by a worker, so what works here works for events. It is sent once, also to an
endpoint that is disabled, and does not count as a failure.
"""

import asyncio
from typing import Final

from core.db.engine import Database
from core.db.session import hot_transaction, transaction
from core.db.statements import Statement
from core.domain.errors import FailedDependency
from core.domain.events import EventType, sample_data
from core.domain.ids import DeliveryId, EndpointId, EventId, TenantId, new_uuid
from core.queue.enqueue import Enqueuer, delivery_entry
from core.webhooks.endpoints import queries

# From the request to a worker's first byte.
QUEUE_SECONDS: Final = 10.0
_SHORTEST_LOOK, _LONGEST_LOOK = 0.02, 0.25

INSERT_SAMPLE: Final = Statement("core/webhooks/sql/insert_sample.sql")
SAMPLE_OUTCOME: Final = Statement("core/webhooks/sql/sample_outcome.sql")

_PROBLEMS: Final = {
    "unreachable": "It could not be reached: no such host, a closed port, or an address that is not allowed.",
    "tls": "Its TLS certificate is not valid for this host.",
    "timeout": "It accepted the connection and did not respond in time.",
    "reset": "It closed the connection before it responded.",
    "protocol": "Its response is not HTTP.",
}


async def send_sample(
    database: Database,
    enqueuer: Enqueuer,
    tenant_id: TenantId,
    endpoint_id: EndpointId,
    event_type: EventType,
    *,
    wait_seconds: float,
) -> int:
    """Returns the receiver's HTTP status. Raises NotFound, or FailedDependency when it did not respond."""
    delivery_id, event_id = DeliveryId(new_uuid()), EventId(new_uuid())
    sample = sample_data(event_type, endpoint_id).model_copy(update={"test": True})
    async with transaction(database, tenant_id) as session:
        row = await queries.endpoint_row(session, tenant_id, endpoint_id)
        await INSERT_SAMPLE.run(
            session,
            id=delivery_id,
            tenant_id=tenant_id,
            endpoint_id=endpoint_id,
            event_id=event_id,
            event_type=event_type,
            url=row.url,
            data=sample.model_dump_json(exclude_none=True),
        )
    enqueuer.enqueue(delivery_entry(delivery_id, tenant_id))
    ended = await _ended(database, tenant_id, delivery_id, wait_seconds)
    if ended is None:
        raise _silent("No worker has sent it yet. Is one running?")
    status, error = ended
    if status is None:
        raise _silent(_PROBLEMS.get(error or "", "It could not be sent."))
    return status


async def _ended(
    database: Database, tenant_id: TenantId, delivery_id: DeliveryId, seconds: float
) -> tuple[int | None, str | None] | None:
    """The sample's status and error; None when nobody sent it in time."""
    loop = asyncio.get_running_loop()
    give_up_at, pause = loop.time() + seconds, _SHORTEST_LOOK
    while True:
        async with hot_transaction(database, [tenant_id]) as connection:
            row = await SAMPLE_OUTCOME.fetchrow(connection, id=delivery_id, tenant_id=tenant_id)
        if row is None or row["state"] != "pending":
            return None if row is None else (row["last_status"], row["last_error"])
        if loop.time() >= give_up_at:
            return None
        await asyncio.sleep(pause)
        pause = min(_LONGEST_LOOK, pause * 1.5)


def _silent(why: str) -> FailedDependency:
    return FailedDependency(f"The webhook endpoint did not respond to the test. {why}", code="webhook_unanswered")
