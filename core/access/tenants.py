"""Creates, lists and limits tenants and their keys. The command line calls it, on a fleet database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select, update

from core.access.keys import new_key
from core.access.webhook_secrets import new_secret, open_secret, seal_secret
from core.db.engine import Database
from core.db.sealed import Sealer
from core.db.session import reading, transaction
from core.db.tables import ApiKeyRow, TenantRow
from core.domain.clock import Clock
from core.domain.errors import Conflict, NotFound
from core.domain.ids import KeyId, TenantId, new_uuid


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key; its text can't be read again."""

    id: KeyId
    text: str


async def create_tenant(database: Database, sealer: Sealer, name: str) -> TenantId:
    """Creates a tenant. Raises Conflict when the name is taken."""
    tenant_id = TenantId(new_uuid())
    secret = seal_secret(sealer, new_secret(), tenant_id)
    try:
        async with transaction(database, None) as session:
            session.add(TenantRow(id=tenant_id, name=name, webhook_secret=secret))
    except IntegrityError:
        raise Conflict(f"There is a tenant named {name!r} already.") from None
    return tenant_id


async def list_tenants(database: Database) -> Sequence[TenantRow]:
    async with reading(database, None) as session:
        return (await session.exec(select(TenantRow).order_by(col(TenantRow.created_at)))).all()


async def limit_tenant(database: Database, tenant_id: TenantId, max_slots: int | None) -> None:
    """Sets how many worker slots the tenant may use at once; None restores its share. Takes effect within seconds."""
    async with transaction(database, None) as session:
        await session.exec(update(TenantRow).where(col(TenantRow.id) == tenant_id).values(max_slots=max_slots))


async def find_tenant(database: Database, name: str) -> TenantId:
    """Returns the id of the tenant with this name. Raises NotFound."""
    async with reading(database, None) as session:
        found = (await session.exec(select(TenantRow.id).where(col(TenantRow.name) == name))).first()
    if found is None:
        raise NotFound(f"There is no tenant named {name!r}. Create it with `inferd tenants create {name}`.")
    return TenantId(found)


async def create_key(
    database: Database, clock: Clock, tenant_id: TenantId, name: str, *, days: float | None = None
) -> CreatedKey:
    """Creates a key for the tenant; it expires after `days`, if given."""
    text, presented = new_key()
    key_id = KeyId(new_uuid())
    expires_at = None if days is None else clock.now() + timedelta(days=days)
    async with transaction(database, tenant_id) as session:
        session.add(
            ApiKeyRow(
                id=key_id,
                tenant_id=tenant_id,
                public_id=presented.public_id,
                secret_hash=presented.secret_hash,
                name=name,
                expires_at=expires_at,
            )
        )
    return CreatedKey(key_id, text)


async def list_keys(database: Database, tenant_id: TenantId) -> Sequence[ApiKeyRow]:
    async with reading(database, tenant_id) as session:
        query = select(ApiKeyRow).where(col(ApiKeyRow.tenant_id) == tenant_id).order_by(col(ApiKeyRow.created_at))
        return (await session.exec(query)).all()


async def revoke_key(database: Database, tenant_id: TenantId, public_id: str) -> datetime:
    """Revokes a key; every process refuses it within CACHE_SECONDS. Raises NotFound."""
    async with transaction(database, tenant_id) as session:
        query = (
            update(ApiKeyRow)
            .where(col(ApiKeyRow.tenant_id) == tenant_id, col(ApiKeyRow.public_id) == public_id)
            .values(revoked_at=func.coalesce(col(ApiKeyRow.revoked_at), func.now()))
            .returning(col(ApiKeyRow.revoked_at))
        )
        revoked_at: datetime | None = (await session.exec(query)).scalar()
    if revoked_at is None:
        raise NotFound(f"The tenant has no key {public_id}.")
    return revoked_at


async def webhook_secret(database: Database, sealer: Sealer, tenant_id: TenantId) -> str:
    """Returns the secret that signs deliveries to webhook URLs given in jobs."""
    async with reading(database, tenant_id) as session:
        query = select(TenantRow.webhook_secret).where(col(TenantRow.id) == tenant_id)
        sealed = (await session.exec(query)).one()
    return open_secret(sealer, sealed, tenant_id)
