"""Changes an endpoint, enables or disables it, deletes it. Called by the routes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from core.db.engine import Database
from core.db.session import transaction
from core.domain.clock import Clock
from core.domain.ids import EndpointId, TenantId
from core.webhooks.endpoints import queries
from core.webhooks.endpoints.records import EndpointRecord
from core.webhooks.endpoints.settle import SETTLE

# Deliveries that wait, in the request that disables or moves their endpoint; the sweep goes on.
SETTLED_AT_ONCE: Final = 500


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
        await SETTLE.run(session, most=SETTLED_AT_ONCE, endpoint_id=endpoint_id)
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
        await SETTLE.run(session, most=SETTLED_AT_ONCE, endpoint_id=endpoint_id)
    return queries.endpoint_record(row)


async def delete_endpoint(database: Database, tenant_id: TenantId, endpoint_id: EndpointId) -> None:
    """At once, and nothing more is sent for it. Raises NotFound.

    Its deliveries and their log can't be read any more, and are deleted in the background
    (core/webhooks/deliveries/prune.py).
    """
    async with transaction(database, tenant_id) as session:
        await session.delete(await queries.endpoint_row(session, tenant_id, endpoint_id, lock=True))
