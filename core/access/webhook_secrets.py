"""The secrets that sign webhooks: one for each endpoint, and one for each tenant for webhook URLs given in jobs.

They are stored sealed. Deliveries open them to sign.
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
    """Returns a new secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def seal_secret(sealer: Sealer, secret: str, tenant_id: TenantId, endpoint_id: EndpointId | None = None) -> bytes:
    place, row = _where(tenant_id, endpoint_id)
    return sealer.seal(secret.encode(), tenant_id, place, row)


def open_secret(sealer: Sealer, sealed: bytes, tenant_id: TenantId, endpoint_id: EndpointId | None = None) -> str:
    """Returns the secret in clear. Raises SealBroken."""
    place, row = _where(tenant_id, endpoint_id)
    return sealer.open(sealed, tenant_id, place, row).decode()


def _where(tenant_id: TenantId, endpoint_id: EndpointId | None) -> tuple[str, UUID]:
    return (_TENANT_PLACE, tenant_id) if endpoint_id is None else (_ENDPOINT_PLACE, endpoint_id)
