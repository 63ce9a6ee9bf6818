"""Registers an endpoint. Its secret is shown once, in the answer, and sealed at rest (core/db/sealed.py)."""

from typing import Final

from sqlalchemy import func
from sqlmodel import col, select

from core.access.webhook_secrets import seal_secret
from core.db.engine import Database
from core.db.sealed import Sealer
from core.db.session import transaction
from core.db.tables import TenantRow, WebhookEndpointRow
from core.domain.errors import Conflict
from core.domain.ids import EndpointId, TenantId, new_uuid
from core.webhooks.egress.signing import Signature, hint_of, new_signing_secret, verifying_secret
from core.webhooks.endpoints.queries import endpoint_record
from core.webhooks.endpoints.records import EndpointDraft, RevealedEndpoint

MOST_ENDPOINTS: Final = 50


async def create_endpoint(
    database: Database,
    sealer: Sealer,
    tenant_id: TenantId,
    draft: EndpointDraft,
    *,
    signature: Signature = "v1",
    enabled: bool = True,
) -> RevealedEndpoint:
    """Raises Conflict when the tenant has MOST_ENDPOINTS already."""
    endpoint_id, secret = EndpointId(new_uuid()), new_signing_secret(signature)
    async with transaction(database, tenant_id) as session:
        await session.exec(select(TenantRow.id).where(col(TenantRow.id) == tenant_id).with_for_update(key_share=True))
        count = select(func.count()).where(col(WebhookEndpointRow.tenant_id) == tenant_id)
        if (await session.exec(count)).one() >= MOST_ENDPOINTS:
            raise Conflict(f"There are {MOST_ENDPOINTS} webhook endpoints already. Delete one that is not used.")
        row = WebhookEndpointRow(
            id=endpoint_id,
            tenant_id=tenant_id,
            name=draft.name,
            url=draft.url,
            event_types=list(draft.event_types),
            include_result=draft.include_result,
            max_per_second=draft.max_per_second,
            secret=seal_secret(sealer, secret, tenant_id, endpoint_id),
            secret_hint=hint_of(secret),
            signature=signature,
            enabled=enabled,
            disabled_reason=None if enabled else "caller",
            failures=0,
        )
        session.add(row)
        await session.flush()
        await session.refresh(row)
    return RevealedEndpoint(endpoint_record(row), verifying_secret(secret))
