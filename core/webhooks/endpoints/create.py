"""Registers an endpoint. Its secret is shown once, in the answer, and sealed at rest (core/db/sealed.py)."""

from typing import Final

from sqlalchemy import func
from sqlmodel import col, select

from core.access.webhook_secrets import open_secret, seal_secret
from core.db.engine import Database
from core.db.idempotency import Created, IdempotencyKey, hold_key
from core.db.sealed import Sealer
from core.db.session import reading, transaction
from core.db.tables import TenantRow, WebhookEndpointRow
from core.domain.errors import Conflict, Gone, NotFound
from core.domain.ids import EndpointId, TenantId, new_uuid
from core.webhooks.egress.signing import Signature, hint_of, new_signing_secret, verifying_secret
from core.webhooks.endpoints.queries import endpoint_record, endpoint_row
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
    key: IdempotencyKey | None = None,
) -> Created[RevealedEndpoint]:
    """Raises Conflict when the tenant has MOST_ENDPOINTS already; with a key, as `hold_key`, or Gone."""
    endpoint_id, secret = EndpointId(new_uuid()), new_signing_secret(signature)
    async with transaction(database, tenant_id) as session:
        held = EndpointId(await hold_key(session, tenant_id, key, endpoint_id))
        if held == endpoint_id:
            await session.exec(
                select(TenantRow.id).where(col(TenantRow.id) == tenant_id).with_for_update(key_share=True)
            )
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
            return Created(RevealedEndpoint(endpoint_record(row), verifying_secret(secret)), replayed=False)
    return Created(await _created_before(database, sealer, tenant_id, held), replayed=True)


async def _created_before(
    database: Database, sealer: Sealer, tenant_id: TenantId, endpoint_id: EndpointId
) -> RevealedEndpoint:
    """With its secret: whoever sends the request again has not seen the response to the first one.

    A secret that came later was for the eyes of whoever rotated it.
    """
    try:
        async with reading(database, tenant_id) as session:
            row = await endpoint_row(session, tenant_id, endpoint_id)
    except NotFound:
        raise Gone("The endpoint that this Idempotency-Key created was deleted. Send a new key.") from None
    if row.updated_at != row.created_at:
        raise Conflict("The endpoint was changed since this Idempotency-Key created it. Rotate its secret to see one.")
    secret = open_secret(sealer, row.secret, tenant_id, endpoint_id)
    return RevealedEndpoint(endpoint_record(row), verifying_secret(secret))
