"""Reading endpoints and deliveries, for one caller, in the caller's transaction. Used by core/webhooks' use cases."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, func, or_
from sqlmodel import col, select

from core.db.session import ReadSession, WriteSession
from core.db.tables import DeliveryAttemptRow, DeliveryRow, JobRow, RecoveryRow, RetiredSecretRow, WebhookEndpointRow
from core.domain.errors import NotFound
from core.domain.ids import DELIVERY, ENDPOINT, DeliveryId, EndpointId, EventId, JobId, TenantId, show, uuid_at
from core.webhooks.exchange import Timing
from core.webhooks.records import (
    AttemptLine,
    DeliveryDetail,
    DeliveryFilter,
    DeliverySummary,
    EndpointDraft,
    EndpointRecord,
)
from core.webhooks.signing import Signature
from core.webhooks.store import statement

MOST_COUNTED: Final = 50_000
_HOUR: Final = 3600.0


async def endpoint_row(
    session: ReadSession, tenant_id: TenantId, endpoint_id: EndpointId, *, lock: bool = False
) -> WebhookEndpointRow:
    """Raises NotFound. A locked row still lets deliveries for it be made."""
    query = select(WebhookEndpointRow).where(
        col(WebhookEndpointRow.tenant_id) == tenant_id, col(WebhookEndpointRow.id) == endpoint_id
    )
    row = (await session.exec(query.with_for_update(key_share=True) if lock else query)).first()
    if row is None:
        raise NotFound(f"There is no webhook endpoint {show(ENDPOINT, endpoint_id)}.")
    return row


async def retired_secrets(
    session: ReadSession, tenant_id: TenantId, endpoint_id: EndpointId
) -> Sequence[RetiredSecretRow]:
    query = select(RetiredSecretRow).where(
        col(RetiredSecretRow.tenant_id) == tenant_id, col(RetiredSecretRow.endpoint_id) == endpoint_id
    )
    return (await session.exec(query)).all()


async def run(session: WriteSession, name: str, *arguments: object) -> None:
    """sql/{name}.sql, in the session's transaction."""
    connection = await session.connection()
    await connection.exec_driver_sql(statement(name), arguments)


def endpoint_record(row: WebhookEndpointRow) -> EndpointRecord:
    return EndpointRecord(
        id=EndpointId(row.id),
        draft=EndpointDraft(
            name=row.name,
            url=row.url,
            event_types=tuple(row.event_types),
            include_result=row.include_result,
            max_per_second=row.max_per_second,
        ),
        signature=cast(Signature, row.signature),
        secret_hint=row.secret_hint,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        disabled_at=row.disabled_at,
        failures=row.failures,
        failing_since=row.failing_since,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


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
    """Those of a deleted endpoint are on their way out (core/webhooks/prune.py)."""
    endpoint = select(WebhookEndpointRow.id).where(
        col(WebhookEndpointRow.id) == col(DeliveryRow.endpoint_id),
        col(WebhookEndpointRow.tenant_id) == col(DeliveryRow.tenant_id),
    )
    return or_(col(DeliveryRow.endpoint_id).is_(None), endpoint.exists())


async def list_deliveries(
    session: ReadSession, tenant_id: TenantId, wanted: DeliveryFilter, *, before: DeliveryId | None, limit: int
) -> list[DeliverySummary]:
    """The caller's deliveries, newest first, from just before the delivery `before`."""
    query = select(DeliveryRow).where(col(DeliveryRow.tenant_id) == tenant_id, _readable())
    if before is not None:
        query = query.where(col(DeliveryRow.id) < before)
    if wanted.endpoint_id is not None:
        query = query.where(col(DeliveryRow.endpoint_id) == wanted.endpoint_id)
    if wanted.job_id is not None:
        query = query.where(col(DeliveryRow.job_id) == wanted.job_id)
    if wanted.states:
        query = query.where(col(DeliveryRow.state).in_(wanted.states))
    if wanted.event_type is not None:
        query = query.where(col(DeliveryRow.event_type) == wanted.event_type)
    if wanted.created_after is not None:
        query = query.where(col(DeliveryRow.created_at) >= wanted.created_after)
    if wanted.created_before is not None:
        query = query.where(col(DeliveryRow.created_at) < wanted.created_before)
    rows = await session.exec(query.order_by(col(DeliveryRow.id).desc()).limit(limit))
    return [_summary(row) for row in rows]


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
            # An id tells when it was made, nearly: an hour is more than any transaction takes.
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
        state=row.state,
        attempts=row.attempts,
        status=row.last_status,
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
        status=row.status,
        error=row.error,
        timing=Timing(row.dns_ms, row.connect_ms, row.tls_ms, row.first_byte_ms, row.total_ms),
        retry_after=row.retry_after,
        excerpt=row.excerpt,
        next_attempt_at=row.next_attempt_at,
    )
