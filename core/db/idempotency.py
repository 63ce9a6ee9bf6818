"""Idempotency keys of what is created in a session; a job's are in core/jobs/sql/insert.sql, in the same table.

Called by core/webhooks, inside the transaction that creates the resource.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from core.db.session import WriteSession
from core.db.tables import IdempotencyRow
from core.domain.errors import InvalidParameter
from core.domain.ids import TenantId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key as the caller sent it, and what it stands for: the fingerprint of the operation and its body."""

    text: str
    fingerprint: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Created(Generic[T]):
    """What was created, and whether an earlier request with the same key did it."""

    value: T
    replayed: bool


def key_reused() -> InvalidParameter:
    """The error for a key that came with another body."""
    return InvalidParameter(
        "This Idempotency-Key was used before with another body. Send a new key to create something new.",
        code="idempotency_key_reused",
        param="Idempotency-Key",
    )


async def hold_key(session: WriteSession, tenant_id: TenantId, key: IdempotencyKey | None, created: UUID) -> UUID:
    """`created`, for which the key is held from now on, or the id of what the key created before.

    Waits for another transaction that is about to hold the key. Raises InvalidParameter for another body.
    """
    if key is None:
        return created
    values = {
        "fingerprint": key.fingerprint, "job_id": created, "expires_at": func.now() + timedelta(seconds=key.seconds)
    }  # fmt: skip
    statement = (
        insert(IdempotencyRow)
        .values(tenant_id=tenant_id, key=key.text, **values)
        .on_conflict_do_update(
            index_elements=["tenant_id", "key"], set_=values, where=col(IdempotencyRow.expires_at) <= func.now()
        )
        .returning(col(IdempotencyRow.job_id))
    )
    connection = await session.connection()
    if (await connection.execute(statement)).first() is not None:
        return created
    query = select(IdempotencyRow).where(
        col(IdempotencyRow.tenant_id) == tenant_id, col(IdempotencyRow.key) == key.text
    )
    held = (await session.exec(query)).one()
    if held.fingerprint != key.fingerprint:
        raise key_reused()
    return held.job_id
