"""Reading endpoints, for one caller, in the caller's transaction."""

from collections.abc import Sequence
from typing import cast

from sqlmodel import col, select

from core.db.session import ReadSession
from core.db.tables import RetiredSecretRow, WebhookEndpointRow
from core.domain.errors import NotFound
from core.domain.ids import ENDPOINT, EndpointId, TenantId, show
from core.webhooks.egress.signing import Signature
from core.webhooks.endpoints.records import EndpointDraft, EndpointRecord


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
