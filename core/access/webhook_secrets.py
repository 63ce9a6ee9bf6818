"""The secrets that sign webhooks: sealed on an endpoint, or on the tenant for a job's own URL.

Made by core/access/tenants.py, opened by core/webhooks/deliveries/deliver.py.
"""

import base64
import secrets
from typing import Final
from uuid import UUID

from core.db.sealed import Sealer
from core.domain.ids import EndpointId, TenantId

PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_TENANT_PLACE: Final = "tenants.webhook_secret"
_ENDPOINT_PLACE: Final = "webhook_endpoints.secret"


def new_secret() -> str:
    """A secret as it is shown: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def seal_secret(sealer: Sealer, secret: str, tenant_id: TenantId, endpoint_id: EndpointId | None = None) -> bytes:
    place, row = _where(tenant_id, endpoint_id)
    return sealer.seal(secret.encode(), tenant_id, place, row)


def open_secret(sealer: Sealer, sealed: bytes, tenant_id: TenantId, endpoint_id: EndpointId | None = None) -> str:
    """Raises SealBroken."""
    place, row = _where(tenant_id, endpoint_id)
    return sealer.open(sealed, tenant_id, place, row).decode()


def _where(tenant_id: TenantId, endpoint_id: EndpointId | None) -> tuple[str, UUID]:
    return (_TENANT_PLACE, tenant_id) if endpoint_id is None else (_ENDPOINT_PLACE, endpoint_id)
