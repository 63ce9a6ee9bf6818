"""The statements that write deliveries after they exist, each for many rows and each guarded (sql/*.sql).

Called by core/webhooks only. Rows are made with the change that they report, by core/jobs/sql.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from core.db.rows import from_record
from core.db.session import Connection
from core.db.statements import Statement
from core.domain.ids import DeliveryId, EndpointId, LeaseToken, TenantId
from core.webhooks.deliveries.records import (
    Caps,
    ClaimedDelivery,
    DeliveryNotDue,
    Ended,
    PutBack,
    RecordedBatch,
    Successor,
    Written,
)
from core.webhooks.deliveries.schedule import DISABLING_FAILURES, DISABLING_SECONDS
from core.webhooks.endpoints.records import DisabledEndpoint

# Claims are one at a time over the fleet, so that what is in flight can be counted. Each takes a millisecond or two.
# Whoever stands still with the lock is not waited for: LockNotAvailableError, and the claim is made without it.
CLAIM_ALONE: Final = f"SET LOCAL lock_timeout = '1s'; SELECT pg_advisory_xact_lock({0x1FE4D_0002})"
_PLACE_TAKEN_SECONDS: Final = 0.5
# By the claim's verdict: it has just been moved to another host, with caps of its own; its endpoint's row is locked.
_AGAIN_SECONDS: Final = {"move": 0.0, "wait": 0.5}
# Far below what the columns hold: the schedule's own attempts behind the last one by hand fit in as well.
MOST_ATTEMPTS: Final = 10_000

_Claim = ClaimedDelivery | DeliveryNotDue | None


class Sending(NamedTuple):
    """How many deliveries of a tenant are in flight from this worker."""

    tenant_id: TenantId
    sending: int


# Made for each row and read once: to freeze it would cost three times as much.
@dataclass(slots=True)
class EndedRow:
    """An attempt that ended, flat: the lease that it had, its outcome, and how long each part of the exchange took."""

    id: DeliveryId
    tenant_id: TenantId
    endpoint_id: EndpointId | None
    lease_token: LeaseToken
    attempt: int
    trigger: str
    state: str
    delay: float | None
    status: int | None
    error: str | None
    pause: float | None
    started_at: datetime
    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    total_ms: float | None
    retry_after: float | None
    excerpt: str | None


class UnsentRow(NamedTuple):
    """A lease that is given up, and after how many seconds the delivery is tried again."""

    id: DeliveryId
    tenant_id: TenantId
    lease_token: LeaseToken
    delay: float


CLAIM: Final = Statement("core/webhooks/sql/claim.sql", Sending)
RECORD: Final = Statement("core/webhooks/sql/record.sql", EndedRow)
PUT_BACK: Final = Statement("core/webhooks/sql/put_back.sql", UnsentRow)
SUCCESSORS: Final = Statement("core/webhooks/sql/successors.sql", Written)
PUBLISH_DISABLED: Final = Statement("core/webhooks/sql/publish_disabled.sql", DisabledEndpoint)


async def claim(
    connection: Connection, delivery_ids: Sequence[DeliveryId], caps: Caps, *, lease_seconds: float
) -> list[_Claim]:
    """Leases those that are due and have room; None for one that is done, is sent by another, or has to wait its turn.

    In a transaction that began with CLAIM_ALONE, or else the caps may be passed by what others claim meanwhile.
    Whoever is in front of one that waits enqueues it when it ends (`successors`).
    """
    records = await CLAIM.fetch(
        connection,
        [Sending(*each) for each in caps.sending.items()],
        delivery_ids=list(dict.fromkeys(delivery_ids)),
        lease_seconds=lease_seconds,
        per_target=caps.per_target,
        per_host=caps.per_host,
        suspects=list(caps.suspects),
        suspect_room=caps.suspect_room,
        per_tenant=caps.per_tenant,
    )
    found: dict[DeliveryId, _Claim] = {}
    paced: set[object] = set()
    for record in records:
        delivery_id = DeliveryId(record["id"])
        found[delivery_id] = from_record(ClaimedDelivery, record) if record["lease_token"] else _waiting(record, paced)
    return [found.pop(delivery_id, None) for delivery_id in delivery_ids]


def _waiting(record: asyncpg.Record, paced: set[object]) -> DeliveryNotDue | None:
    if record["verdict"] in _AGAIN_SECONDS:
        return DeliveryNotDue(_AGAIN_SECONDS[record["verdict"]])
    if not record["is_due"]:
        return DeliveryNotDue(record["seconds_until_due"]) if record["seconds_until_due"] > 0 else None
    if record["trigger"] == "test":
        return DeliveryNotDue(_PLACE_TAKEN_SECONDS)
    # One of those that wait for their receiver's rate is enough: it enqueues the next.
    if record["seconds_until_clear"] > 0 and record["target"] not in paced:
        paced.add(record["target"])
        return DeliveryNotDue(record["seconds_until_clear"])
    return None


async def record(connection: Connection, rows: Sequence[Ended], *, worker_id: str) -> RecordedBatch:
    """Writes how attempts ended, each into the log, and into its delivery if that was still its sender's."""
    records = await RECORD.fetch(
        connection,
        [_ended_row(row) for row in rows],
        worker_id=worker_id,
        disabling_failures=DISABLING_FAILURES,
        disabling_seconds=DISABLING_SECONDS,
    )
    written = {DeliveryId(each["id"]): from_record(Written, each) for each in records if each["reason"] is None}
    disabled = [from_record(DisabledEndpoint, each) for each in records if each["reason"] is not None]
    return RecordedBatch(written, disabled)


async def put_back(connection: Connection, rows: Sequence[PutBack]) -> set[DeliveryId]:
    """Gives up leases under which nothing was sent. Returns the deliveries that were still their sender's."""
    leases = [UnsentRow(row.delivery.id, row.delivery.tenant_id, row.delivery.lease_token, row.delay) for row in rows]
    records = await PUT_BACK.fetch(connection, leases)
    return {DeliveryId(each["id"]) for each in records}


async def successors(connection: Connection, ended: RecordedBatch, *, per_target: int) -> list[Successor]:
    """Which deliveries may go now that these have ended."""
    if not ended.written:
        return []
    records = await SUCCESSORS.fetch(connection, list(set(ended.written.values())), per_target=per_target)
    return [from_record(Successor, each) for each in records]


async def publish_disabled(connection: Connection, disabled: Sequence[DisabledEndpoint]) -> list[Successor]:
    """Makes the deliveries of events that say that endpoints were disabled."""
    if not disabled:
        return []
    records = await PUBLISH_DISABLED.fetch(connection, disabled)
    return [Successor(DeliveryId(each["id"]), TenantId(each["tenant_id"])) for each in records]


def _ended_row(row: Ended) -> EndedRow:
    delivery, timing = row.delivery, row.timing
    return EndedRow(
        id=delivery.id,
        tenant_id=delivery.tenant_id,
        endpoint_id=delivery.endpoint_id,
        lease_token=delivery.lease_token,
        attempt=delivery.attempts,
        trigger=delivery.trigger,
        state=row.state,
        delay=row.delay,
        status=row.status,
        error=row.error,
        pause=row.pause,
        started_at=row.started_at,
        dns_ms=timing.dns_ms,
        connect_ms=timing.connect_ms,
        tls_ms=timing.tls_ms,
        first_byte_ms=timing.first_byte_ms,
        total_ms=timing.total_ms,
        retry_after=row.retry_after,
        excerpt=row.excerpt,
    )
