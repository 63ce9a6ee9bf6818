"""Reading deliveries, for one caller, in the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, func, or_
from sqlmodel import col, select

from core.db.session import ReadSession
from core.db.tables import DeliveryAttemptRow, DeliveryRow, JobRow, RecoveryRow, WebhookEndpointRow
from core.domain.errors import NotFound
from core.domain.ids import DELIVERY, DeliveryId, EndpointId, EventId, JobId, TenantId, show, uuid_at
from core.domain.paging import Page, page_of
from core.webhooks.deliveries.records import AttemptLine, DeliveryDetail, DeliveryFilter, DeliverySummary
from core.webhooks.egress.exchange import Timing

MOST_COUNTED: Final = 50_000
_HOUR: Final = 3600.0


async def delivery_row(
    session: ReadSession, tenant_id: TenantId, delivery_id: DeliveryId, *, lock: bool = False
) -> DeliveryRow:
    """Raises NotFound."""
    query = select(DeliveryRow).where(col(DeliveryRow.tenant_id) == tenant_id, col(DeliveryRow.id) == delivery_id)
    row = (await session.exec((query.with_for_update() if lock else query).where(_readable()))).first()
    if row is None:
        raise NotFound(f"There is no webhook delivery {show(DELIVERY, delivery_id)}.")
    return row


def _readable() -> ColumnElement[bool]:
    """Those of a deleted endpoint are on their way out (core/webhooks/deliveries/prune.py)."""
    endpoint = select(WebhookEndpointRow.id).where(
        col(WebhookEndpointRow.id) == col(DeliveryRow.endpoint_id),
        col(WebhookEndpointRow.tenant_id) == col(DeliveryRow.tenant_id),
    )
    return or_(col(DeliveryRow.endpoint_id).is_(None), endpoint.exists())


async def list_deliveries(
    session: ReadSession, tenant_id: TenantId, wanted: DeliveryFilter, *, before: DeliveryId | None, limit: int
) -> Page[DeliverySummary]:
    """The caller's deliveries, newest first, from just before the delivery `before`."""
    query = select(DeliveryRow).where(col(DeliveryRow.tenant_id) == tenant_id, _readable())
    if before is not None:
        query = query.where(col(DeliveryRow.id) < before)
    if wanted.endpoint_id is not None:
        query = query.where(col(DeliveryRow.endpoint_id) == wanted.endpoint_id)
    if wanted.job_id is not None:
        query = query.where(col(DeliveryRow.job_id) == wanted.job_id)
    if wanted.statuses:
        query = query.where(col(DeliveryRow.state).in_(wanted.statuses))
    if wanted.event_type is not None:
        query = query.where(col(DeliveryRow.event_type) == wanted.event_type)
    if wanted.created_after is not None:
        query = query.where(col(DeliveryRow.created_at) >= wanted.created_after)
    if wanted.created_before is not None:
        query = query.where(col(DeliveryRow.created_at) < wanted.created_before)
    rows = (await session.exec(query.order_by(col(DeliveryRow.id).desc()).limit(limit + 1))).all()
    return page_of(rows, limit, _summary)


async def delivery_detail(session: ReadSession, tenant_id: TenantId, delivery_id: DeliveryId) -> DeliveryDetail:
    """Raises NotFound."""
    row = await delivery_row(session, tenant_id, delivery_id)
    lines = select(DeliveryAttemptRow).where(
        col(DeliveryAttemptRow.tenant_id) == tenant_id, col(DeliveryAttemptRow.delivery_id) == delivery_id
    )
    attempts = await session.exec(lines.order_by(col(DeliveryAttemptRow.attempt)))
    return DeliveryDetail(_summary(row), orjson.loads(row.body), tuple(_line(each) for each in attempts))


async def job_exists(session: ReadSession, tenant_id: TenantId, job_id: JobId) -> bool:
    query = select(JobRow.id).where(col(JobRow.tenant_id) == tenant_id, col(JobRow.id) == job_id)
    return (await session.exec(query)).first() is not None


async def running_recovery(session: ReadSession, tenant_id: TenantId, endpoint_id: EndpointId) -> UUID | None:
    query = select(RecoveryRow.id).where(
        col(RecoveryRow.tenant_id) == tenant_id,
        col(RecoveryRow.endpoint_id) == endpoint_id,
        col(RecoveryRow.state) == "running",
    )
    return (await session.exec(query)).first()


async def count_range(
    session: ReadSession,
    tenant_id: TenantId,
    endpoint_id: EndpointId,
    since: datetime,
    until: datetime,
    states: Sequence[str],
) -> int:
    """How many deliveries a recovery has to send, among the first MOST_COUNTED of its range and about it."""
    of_range = (
        select(DeliveryRow.state, DeliveryRow.trigger, DeliveryRow.created_at)
        .where(
            col(DeliveryRow.tenant_id) == tenant_id,
            col(DeliveryRow.endpoint_id) == endpoint_id,
            # An id has the time when it was made, nearly: an hour is more than any transaction takes.
            col(DeliveryRow.id) > uuid_at(since, before=_HOUR),
            col(DeliveryRow.id) < uuid_at(until, before=-_HOUR),
        )
        .order_by(col(DeliveryRow.id))
        .limit(MOST_COUNTED)
        .subquery()
    )
    query = select(func.count()).where(
        of_range.c.created_at >= since,
        of_range.c.created_at < until,
        of_range.c.state.in_(states),
        of_range.c.trigger != "test",
    )
    return (await session.exec(query)).one()


def _summary(row: DeliveryRow) -> DeliverySummary:
    return DeliverySummary(
        id=DeliveryId(row.id),
        event_id=EventId(row.event_id),
        event_type=row.event_type,
        endpoint_id=None if row.endpoint_id is None else EndpointId(row.endpoint_id),
        job_id=None if row.job_id is None else JobId(row.job_id),
        url=row.url,
        status=row.state,
        attempts=row.attempts,
        http_status=row.last_status,
        error=row.last_error,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
        next_attempt_at=row.next_attempt_at if row.state == "pending" else None,
    )


def _line(row: DeliveryAttemptRow) -> AttemptLine:
    return AttemptLine(
        attempt=row.attempt,
        trigger=row.trigger,
        started_at=row.started_at,
        http_status=row.status,
        error=row.error,
        timing=Timing(row.dns_ms, row.connect_ms, row.tls_ms, row.first_byte_ms, row.total_ms),
        retry_after=row.retry_after,
        excerpt=row.excerpt,
        next_attempt_at=row.next_attempt_at,
    )
