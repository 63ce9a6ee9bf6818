"""Lists endpoints and reads one. Called by the routes."""

from sqlmodel import col, select

from core.db.engine import Database
from core.db.session import reading
from core.db.tables import WebhookEndpointRow
from core.domain.ids import EndpointId, TenantId
from core.domain.paging import Page, page_of
from core.webhooks.endpoints.queries import endpoint_record, endpoint_row
from core.webhooks.endpoints.records import EndpointRecord


async def list_endpoints(
    database: Database, tenant_id: TenantId, *, before: EndpointId | None, limit: int
) -> Page[EndpointRecord]:
    """From just before the endpoint `before`."""
    query = select(WebhookEndpointRow).where(col(WebhookEndpointRow.tenant_id) == tenant_id)
    if before is not None:
        query = query.where(col(WebhookEndpointRow.id) < before)
    async with reading(database, tenant_id) as session:
        rows = (await session.exec(query.order_by(col(WebhookEndpointRow.id).desc()).limit(limit + 1))).all()
    return page_of(rows, limit, endpoint_record)


async def get_endpoint(database: Database, tenant_id: TenantId, endpoint_id: EndpointId) -> EndpointRecord:
    """Raises NotFound."""
    async with reading(database, tenant_id) as session:
        return endpoint_record(await endpoint_row(session, tenant_id, endpoint_id))
