"""Transactions, bound to whom they are for. `transaction()` and the two `hot_…` hold the only commits.

A ReadSession can't be handed to what writes: mypy keeps a GET from writing. The tenant is set with
set_config(…, true), which ends with the transaction, so no connection carries a tenant to its next borrower.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import NewType, TypeAlias
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from core.db.engine import Database
from core.domain.ids import TenantId

ReadSession = NewType("ReadSession", AsyncSession)
WriteSession = NewType("WriteSession", ReadSession)
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class NoTenant(RuntimeError):
    """A statement on a database that is not the fleet's named no tenant."""


@asynccontextmanager
async def reading(database: Database, tenant_id: TenantId | None) -> AsyncIterator[ReadSession]:
    """A read-only transaction for one tenant, or for all when `tenant_id` is None on a fleet database.

    All that is read in it is of one moment: a delivery never shows an attempt in its log and the state of before it.
    """
    async with AsyncSession(database.engine, expire_on_commit=False) as session:
        await (await session.connection()).execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        await _bind(session, database, tenant_id)
        yield ReadSession(session)


@asynccontextmanager
async def transaction(database: Database, tenant_id: TenantId | None) -> AsyncIterator[WriteSession]:
    """A transaction that commits when its body ends well and is rolled back otherwise."""
    async with AsyncSession(database.engine, expire_on_commit=False) as session, session.begin():
        await _bind(session, database, tenant_id)
        yield WriteSession(ReadSession(session))


@asynccontextmanager
async def hot_transaction(
    database: Database, tenant_ids: Collection[UUID] | None, *opening: str
) -> AsyncIterator[Connection]:
    """A driver connection in a transaction that sees the named tenants, or all when None on a fleet database.

    `opening` are statements without parameters that travel with the BEGIN, in its round trip.
    """
    if tenant_ids is not None:
        # Nothing but hexadecimal digits, so it may stand in the text.
        listed = ",".join({tenant_id.hex for tenant_id in tenant_ids})
        opening = (f"SELECT set_config('app.tenant_ids', '{{{listed}}}', true)", *opening)
    elif not database.fleet:
        raise NoTenant("name the tenants, or open a fleet database")
    async with database.pool.acquire() as connection:
        try:
            await connection.execute("; ".join(("BEGIN", *opening)))
            yield connection
            await connection.execute("COMMIT")
        except TimeoutError:
            await _give_up(database, connection)
            raise
        except BaseException:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise


@asynccontextmanager
async def hot_statement(database: Database) -> AsyncIterator[Connection]:
    """A driver connection of a fleet database for one statement, which is a transaction by itself.

    One round trip in place of three; and a process that is stopped in the middle leaves no lock behind that would keep
    others from taking over what it held.
    """
    if not database.fleet:
        raise NoTenant("name the tenants, or open a fleet database")
    async with database.pool.acquire() as connection:
        try:
            yield connection
        except TimeoutError:
            await _give_up(database, connection)
            raise


async def _give_up(database: Database, connection: Connection) -> None:
    """Drops a connection that got no answer, and has the others replaced before they are used again.

    It would get no answer to a ROLLBACK either, and the caller would wait as long again.
    """
    connection.terminate()
    await database.pool.expire_connections()


async def _bind(session: AsyncSession, database: Database, tenant_id: TenantId | None) -> None:
    if tenant_id is not None:
        connection = await session.connection()
        await connection.execute(text("SELECT set_config('app.tenant_id', :id, true)"), {"id": str(tenant_id)})
    elif not database.fleet:
        raise NoTenant("name the tenant, or open a fleet database")
