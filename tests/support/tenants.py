"""Tenants for tests, made the way `inferd tenants create` and `inferd keys create` make them."""

import uuid
from dataclasses import dataclass

from core.access.tenants import create_key, create_tenant, webhook_secret
from core.domain.ids import TenantId
from core.runtime import OperatorRuntime


@dataclass(frozen=True)
class Tenant:
    """A tenant, an API key of it, and what signs its webhooks."""

    id: TenantId
    name: str
    key: str
    webhook_secret: str

    @property
    def authorization(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


async def make_tenant(operator: OperatorRuntime, name: str | None = None) -> Tenant:
    """A new tenant with a key. `operator` may have a master key."""
    name = name or f"tenant-{uuid.uuid4().hex[:12]}"
    tenant_id = await create_tenant(operator.database, operator.sealer, name)
    key = await create_key(operator.database, operator.clock, tenant_id, "test")
    secret = await webhook_secret(operator.database, operator.sealer, tenant_id)
    return Tenant(tenant_id, name, key.text, secret)
