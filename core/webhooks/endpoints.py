"""Registered endpoints: made, read, changed, enabled, deleted, and their secrets rotated. Called by the routes.

A secret is shown when it is made and never again; it is sealed at rest (core/db/sealed.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, cast

from sqlalchemy import func
from sqlmodel import col, select

from core.access.webhook_secrets import seal_secret
from core.db.engine import Database
from core.db.sealed import Sealer
from core.db.session import reading, transaction
from core.db.tables import RetiredSecretRow, TenantRow, WebhookEndpointRow
from core.domain.clock import Clock
from core.domain.errors import Conflict
from core.domain.ids import EndpointId, TenantId, new_uuid
from core.webhooks import queries
from core.webhooks.records import EndpointDraft, EndpointPage, EndpointRecord, RevealedEndpoint
from core.webhooks.signing import Signature, hint_of, new_signing_secret, verifying_secret

MOST_ENDPOINTS: Final = 50
OVERLAP: Final = timedelta(hours=24)
_MOST_RETIRED: Final = 9
# Deliveries that wait, in the request that disables or moves their endpoint; the sweep goes on.
SETTLED_AT_ONCE: Final = 500


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
    return RevealedEndpoint(queries.endpoint_record(row), verifying_secret(secret))


async def list_endpoints(
    database: Database, tenant_id: TenantId, *, before: EndpointId | None, limit: int
) -> EndpointPage:
    """From just before the endpoint `before`."""
    query = select(WebhookEndpointRow).where(col(WebhookEndpointRow.tenant_id) == tenant_id)
    if before is not None:
        query = query.where(col(WebhookEndpointRow.id) < before)
    async with reading(database, tenant_id) as session:
        rows = (await session.exec(query.order_by(col(WebhookEndpointRow.id).desc()).limit(limit + 1))).all()
    return EndpointPage(tuple(map(queries.endpoint_record, rows[:limit])), has_more=len(rows) > limit)


async def get_endpoint(database: Database, tenant_id: TenantId, endpoint_id: EndpointId) -> EndpointRecord:
    """Raises NotFound."""
    async with reading(database, tenant_id) as session:
        return queries.endpoint_record(await queries.endpoint_row(session, tenant_id, endpoint_id))


async def update_endpoint(
    database: Database, clock: Clock, tenant_id: TenantId, endpoint_id: EndpointId, changes: Mapping[str, Any]
) -> EndpointRecord:
    """Changes the fields of an EndpointDraft that are named. Raises NotFound.

    A new URL is also where the deliveries go that were made for the old one: each when it is sent.
    """
    async with transaction(database, tenant_id) as session:
        row = await queries.endpoint_row(session, tenant_id, endpoint_id, lock=True)
        before = queries.endpoint_record(row)
        draft = replace(before.draft, **changes)
        if draft == before.draft:
            return before
        row.name, row.url, row.event_types = draft.name, draft.url, list(draft.event_types)
        row.include_result, row.max_per_second = draft.include_result, draft.max_per_second
        row.updated_at, row.send_after = clock.now(), None
        if draft.url != before.draft.url:
            row.unsettled_at = row.updated_at
        await session.flush()
        await queries.run(session, "settle", SETTLED_AT_ONCE, endpoint_id)
    return queries.endpoint_record(row)


async def set_enabled(
    database: Database, clock: Clock, tenant_id: TenantId, endpoint_id: EndpointId, *, enabled: bool
) -> EndpointRecord:
    """Turned off, what waits is skipped: some at once, the rest in the background, none of it sent meanwhile.

    Turned on, it starts with a clean record. Raises NotFound.
    """
    async with transaction(database, tenant_id) as session:
        row = await queries.endpoint_row(session, tenant_id, endpoint_id, lock=True)
        if row.enabled == enabled:
            return queries.endpoint_record(row)
        row.enabled, row.disabled_reason = enabled, None if enabled else "caller"
        row.updated_at = clock.now()
        row.disabled_at = None if enabled else row.updated_at
        row.failures, row.failing_since, row.send_after = 0, None, None
        if not enabled:
            row.unsettled_at = row.updated_at
        await session.flush()
        await queries.run(session, "settle", SETTLED_AT_ONCE, endpoint_id)
    return queries.endpoint_record(row)


async def delete_endpoint(database: Database, tenant_id: TenantId, endpoint_id: EndpointId) -> None:
    """At once, and nothing more is sent for it. Raises NotFound.

    Its deliveries and their log can't be read any more, and are deleted in the background (core/webhooks/prune.py).
    """
    async with transaction(database, tenant_id) as session:
        await session.delete(await queries.endpoint_row(session, tenant_id, endpoint_id, lock=True))


async def rotate_secret(
    database: Database, sealer: Sealer, clock: Clock, tenant_id: TenantId, endpoint_id: EndpointId, *,
    keep_old: bool, signature: Signature | None = None,
) -> RevealedEndpoint:  # fmt: skip
    """A new secret. The old one signs too for 24 hours when it is kept, and never again otherwise.

    Raises NotFound, or Conflict when too many old ones are still in use.
    """
    async with transaction(database, tenant_id) as session:
        row = await queries.endpoint_row(session, tenant_id, endpoint_id, lock=True)
        secret = new_signing_secret(signature or cast(Signature, row.signature))
        retired = await queries.retired_secrets(session, tenant_id, endpoint_id)
        live = [each for each in retired if each.expires_at > clock.now()]
        for each in retired:
            if not keep_old or each not in live:
                await session.delete(each)
        if keep_old and len(live) >= _MOST_RETIRED:
            raise Conflict(
                f"{_MOST_RETIRED} older secrets still sign. Wait until one expires, or do not keep the old ones."
            )
        if keep_old:
            expires_at = clock.now() + OVERLAP
            session.add(
                RetiredSecretRow(
                    endpoint_id=endpoint_id,
                    tenant_id=tenant_id,
                    id=new_uuid(),
                    secret=row.secret,
                    expires_at=expires_at,
                )
            )
        row.secret = seal_secret(sealer, secret, tenant_id, endpoint_id)
        row.secret_hint, row.signature = hint_of(secret), signature or row.signature
        row.updated_at = clock.now()
    return RevealedEndpoint(queries.endpoint_record(row), verifying_secret(secret))
