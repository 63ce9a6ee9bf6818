"""Changes an endpoint, enables or disables it, deletes it. Called by the routes."""

from datetime import datetime
from typing import Final

from core.db.engine import Database
from core.db.session import transaction
from core.db.tables import WebhookEndpointRow
from core.domain.clock import Clock
from core.domain.ids import EndpointId, TenantId
from core.webhooks.endpoints import queries
from core.webhooks.endpoints.records import EndpointChanges, EndpointDraft, EndpointRecord
from core.webhooks.endpoints.settle import SETTLE

# Deliveries that wait, in the request that disables or moves their endpoint; the sweep goes on.
SETTLED_AT_ONCE: Final = 500


async def update_endpoint(
    database: Database, clock: Clock, tenant_id: TenantId, endpoint_id: EndpointId, changes: EndpointChanges
) -> EndpointRecord:
    """Makes all the changes in one transaction. Raises NotFound.

    Deliveries that were made for an older URL go to the new one, each when it is sent. Those that wait for an endpoint
    that is disabled are skipped: some at once, the rest in the background, none of them sent meanwhile.
    """
    async with transaction(database, tenant_id) as session:
        row = await queries.endpoint_row(session, tenant_id, endpoint_id, lock=True)
        before = queries.endpoint_record(row)
        draft = changes.applied_to(before.draft)
        enabled = before.enabled if changes.enabled is None else changes.enabled
        if (draft, enabled) == (before.draft, before.enabled):
            return before
        now = clock.now()
        _set_draft(row, draft)
        row.updated_at, row.send_after = now, None
        if enabled != before.enabled:
            _set_enabled(row, now, enabled=enabled)
        if draft.url != before.draft.url or before.enabled > enabled:
            row.unsettled_at = now
        await session.flush()
        await SETTLE.run(session, most=SETTLED_AT_ONCE, endpoint_id=endpoint_id)
    return queries.endpoint_record(row)


def _set_draft(row: WebhookEndpointRow, draft: EndpointDraft) -> None:
    row.name, row.url, row.event_types = draft.name, draft.url, list(draft.event_types)
    row.include_result, row.max_per_second = draft.include_result, draft.max_per_second


def _set_enabled(row: WebhookEndpointRow, now: datetime, *, enabled: bool) -> None:
    """An endpoint that is enabled begins with a clean record."""
    row.enabled = enabled
    row.disabled_reason, row.disabled_at = (None, None) if enabled else ("caller", now)
    row.failures, row.failing_since = 0, None


async def delete_endpoint(database: Database, tenant_id: TenantId, endpoint_id: EndpointId) -> None:
    """At once, and nothing more is sent for it. Raises NotFound.

    Its deliveries and their log can't be read any more, and are deleted in the background
    (core/webhooks/deliveries/prune.py).
    """
    async with transaction(database, tenant_id) as session:
        await session.delete(await queries.endpoint_row(session, tenant_id, endpoint_id, lock=True))
