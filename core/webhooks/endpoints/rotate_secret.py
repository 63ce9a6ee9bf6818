"""Gives an endpoint a new secret, and lets the old one sign for a day if that is asked for. Called by the routes."""

from datetime import timedelta
from typing import Final, cast

from core.access.webhook_secrets import seal_secret
from core.db.engine import Database
from core.db.sealed import Sealer
from core.db.session import transaction
from core.db.tables import RetiredSecretRow
from core.domain.clock import Clock
from core.domain.errors import Conflict
from core.domain.ids import EndpointId, TenantId, new_uuid
from core.webhooks.egress.signing import Signature, hint_of, new_signing_secret, verifying_secret
from core.webhooks.endpoints import queries
from core.webhooks.endpoints.records import RevealedEndpoint

OVERLAP: Final = timedelta(hours=24)
_MOST_RETIRED: Final = 9


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
