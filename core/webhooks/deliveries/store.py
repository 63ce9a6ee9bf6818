"""The statements that write deliveries after they exist, each for many rows and each guarded (sql/*.sql).

Called by core/webhooks only. Rows are made with what they announce, by core/jobs/sql.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

import asyncpg

from core.db.session import Connection
from core.domain.ids import DeliveryId, EndpointId, EventId, JobId, LeaseToken, TenantId
from core.webhooks.deliveries.records import (
    Caps,
    ClaimedDelivery,
    DeliveryNotDue,
    Ended,
    PutBack,
    RecordedBatch,
    Successor,
)
from core.webhooks.endpoints.records import DisabledEndpoint

# Claims are one at a time over the fleet, so that what is in flight can be counted. Each takes a millisecond or two.
# Whoever stands still with the lock is not waited for: LockNotAvailableError, and the claim is made without it.
CLAIM_ALONE: Final = f"SET LOCAL lock_timeout = '1s'; SELECT pg_advisory_xact_lock({0x1FE4D_0002})"
_PLACE_TAKEN_SECONDS: Final = 0.5
# By the claim's verdict: it has just been moved to another host, with caps of its own; its endpoint's row is locked.
_AGAIN_SECONDS: Final = {"move": 0.0, "wait": 0.5}
# Far below what the columns hold: the schedule's own attempts behind the last one by hand fit in as well.
MOST_ATTEMPTS: Final = 10_000
DISABLING_FAILURES: Final = 20
DISABLING_SECONDS: Final = 5 * 86_400.0

_Claim = ClaimedDelivery | DeliveryNotDue | None


@cache
def statement(name: str) -> str:
    """The text of sql/{name}.sql."""
    return files("core.webhooks.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


async def claim(
    connection: Connection, delivery_ids: Sequence[DeliveryId], caps: Caps, *, lease_seconds: float
) -> list[_Claim]:
    """Leases those that are due and have room; None for one that is done, is sent by another, or has to wait its turn.

    In a transaction that began with CLAIM_ALONE, or else the caps may be passed by what others claim meanwhile.
    Whoever is in front of one that waits enqueues it when it ends (`successors`).
    """
    records = await connection.fetch(
        statement("claim"),
        list(dict.fromkeys(delivery_ids)),
        lease_seconds,
        caps.per_target,
        caps.per_host,
        list(caps.suspects),
        caps.suspect_room,
        caps.per_tenant,
        list(caps.sending),
        list(caps.sending.values()),
    )
    found: dict[DeliveryId, _Claim] = {}
    paced: set[object] = set()
    for record in records:
        delivery_id = DeliveryId(record["id"])
        found[delivery_id] = _claimed(delivery_id, record) if record["lease_token"] else _waiting(record, paced)
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


def _claimed(delivery_id: DeliveryId, record: asyncpg.Record) -> ClaimedDelivery:
    endpoint_id, job_id = record["endpoint_id"], record["job_id"]
    return ClaimedDelivery(
        id=delivery_id,
        tenant_id=TenantId(record["tenant_id"]),
        endpoint_id=None if endpoint_id is None else EndpointId(endpoint_id),
        job_id=None if job_id is None else JobId(job_id),
        lease_token=LeaseToken(record["lease_token"]),
        event_id=EventId(record["event_id"]),
        event_type=record["event_type"],
        url=record["url"],
        host=record["host"],
        body=record["body"],
        attempts=record["attempts"],
        slots_used=record["slots_used"],
        trigger=record["trigger"],
        secret=record["secret"],
        retired_secrets=tuple(record["retired_secrets"]),
        includes_result=record["includes_result"],
        result_is_gone=record["result_is_gone"],
        output=record["output"],
    )


async def record(connection: Connection, rows: Sequence[Ended], *, worker_id: str) -> RecordedBatch:
    """Writes how attempts ended, each into the log, and into its delivery if that was still its sender's."""
    records = await connection.fetch(
        statement("record"),
        *_columns([_ended_row(row) for row in rows]),
        worker_id,
        DISABLING_FAILURES,
        DISABLING_SECONDS,
    )
    written = {
        DeliveryId(each["id"]): (TenantId(each["tenant_id"]), each["host"], each["target"])
        for each in records
        if each["reason"] is None
    }
    disabled = [
        DisabledEndpoint(EndpointId(each["id"]), TenantId(each["tenant_id"]), each["reason"], each["failures"])
        for each in records
        if each["reason"] is not None
    ]
    return RecordedBatch(written, disabled)


async def put_back(connection: Connection, rows: Sequence[PutBack]) -> set[DeliveryId]:
    """Gives up leases under which nothing was sent. Returns the deliveries that were still their sender's."""
    records = await connection.fetch(
        statement("put_back"),
        *_columns([(row.delivery.id, row.delivery.tenant_id, row.delivery.lease_token, row.delay) for row in rows]),
    )
    return {DeliveryId(each["id"]) for each in records}


async def successors(connection: Connection, ended: RecordedBatch, *, per_target: int) -> list[Successor]:
    """Which deliveries may go now that these have ended."""
    if not ended.written:
        return []
    records = await connection.fetch(statement("successors"), *_columns(list(set(ended.written.values()))), per_target)
    return [Successor(DeliveryId(each["id"]), TenantId(each["tenant_id"]), each["delay"]) for each in records]


async def tell_disabled(
    connection: Connection, event_type: str, events: Sequence[tuple[DisabledEndpoint, EventId, bytes]]
) -> list[Successor]:
    """Makes the deliveries that say that endpoints were disabled."""
    records = await connection.fetch(
        statement("tell_disabled"),
        [endpoint.id for endpoint, _, _ in events],
        [endpoint.tenant_id for endpoint, _, _ in events],
        [event_id for _, event_id, _ in events],
        event_type,
        [body for _, _, body in events],
    )
    return [Successor(DeliveryId(each["id"]), TenantId(each["tenant_id"])) for each in records]


def _ended_row(row: Ended) -> tuple[object, ...]:
    delivery, timing = row.delivery, row.timing
    return (
        delivery.id,
        delivery.tenant_id,
        delivery.endpoint_id,
        delivery.lease_token,
        delivery.attempts,
        delivery.trigger,
        row.state,
        row.delay,
        row.status,
        row.error,
        row.pause,
        row.started_at,
        timing.dns_ms,
        timing.connect_ms,
        timing.tls_ms,
        timing.first_byte_ms,
        timing.total_ms,
        row.retry_after,
        row.excerpt,
    )


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    """Rows turned into one array a column, as unnest takes them."""
    return [list(column) for column in zip(*rows, strict=True)]
