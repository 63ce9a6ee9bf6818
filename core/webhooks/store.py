"""The statements that write deliveries after they exist, each for many rows and each guarded (sql/*.sql).

Called by core/webhooks/deliver.py through Batchers. Rows are made by core/jobs/sql/apply.sql.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from core.db.session import Connection
from core.domain.ids import DeliveryId, EndpointId, EventId, LeaseToken, TenantId


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that this sender owns until its lease runs out. `secret` is sealed."""

    id: DeliveryId
    tenant_id: TenantId
    endpoint_id: EndpointId | None
    lease_token: LeaseToken
    event_id: EventId
    event_type: str
    url: str
    body: bytes
    attempts: int
    secret: bytes


@dataclass(frozen=True, slots=True)
class DeliveryNotDue:
    seconds: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """How an attempt ended. `delay` is in seconds for one that will be tried again."""

    id: DeliveryId
    lease_token: LeaseToken
    state: str
    delay: float | None
    status: int | None
    error: str | None


@cache
def statement(name: str) -> str:
    """The text of sql/{name}.sql."""
    return files("core.webhooks.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


async def claim(
    connection: Connection, delivery_ids: Sequence[DeliveryId], *, lease_seconds: float
) -> list[ClaimedDelivery | DeliveryNotDue | None]:
    """Leases those that are due; None for one that is done, or that another sender holds."""
    found: dict[DeliveryId, ClaimedDelivery | DeliveryNotDue] = {}
    for record in await connection.fetch(statement("claim"), list(dict.fromkeys(delivery_ids)), lease_seconds):
        delivery_id = DeliveryId(record["id"])
        if record["lease_token"] is None:
            if record["seconds_until_due"] > 0:
                found[delivery_id] = DeliveryNotDue(record["seconds_until_due"])
            continue
        endpoint_id = record["endpoint_id"]
        found[delivery_id] = ClaimedDelivery(
            id=delivery_id,
            tenant_id=TenantId(record["tenant_id"]),
            endpoint_id=None if endpoint_id is None else EndpointId(endpoint_id),
            lease_token=LeaseToken(record["lease_token"]),
            event_id=EventId(record["event_id"]),
            event_type=record["event_type"],
            url=record["url"],
            body=record["body"],
            attempts=record["attempts"],
            secret=record["secret"],
        )
    return [found.pop(delivery_id, None) for delivery_id in delivery_ids]


async def record(connection: Connection, rows: Sequence[Recorded]) -> list[bool]:
    """Writes how attempts ended; False where the delivery was no longer its sender's."""
    records = await connection.fetch(
        statement("record"),
        [row.id for row in rows],
        [row.lease_token for row in rows],
        [row.state for row in rows],
        [row.delay for row in rows],
        [row.status for row in rows],
        [row.error for row in rows],
    )
    written = {each["id"] for each in records}
    return [row.id in written for row in rows]
