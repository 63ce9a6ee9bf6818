"""Refuses a process whose master key is missing or is not the one that this database is sealed with.

Called by core/runtime.py at the start. The first process that has a key seals a known text and stores it; from then on
everybody must be able to open that. Rows that were written before a key was set stay readable with one.
"""

from typing import Final
from uuid import UUID

import asyncpg

from core.access.webhook_secrets import open_secret
from core.db.engine import Database, DatabaseUnusable
from core.db.faults import explain_fault
from core.db.sealed import SealBroken, Sealer
from core.db.session import Connection, hot_transaction
from core.domain.ids import TenantId
from core.settings import SettingsError

_NAME: Final = "master_key"
_PLACE: Final = "seals.canary"
_NOBODY: Final = UUID(int=0)
_KNOWN: Final = b"inferd"
# An API process sees no tenant of its own accord; here it looks at one sealed row of any, and returns nothing of it.
_ALL_TENANTS: Final = "SELECT set_config('app.fleet', 'on', true)"
# The first byte of a sealed record (core/db/sealed.py).
_ONE_SEALED: Final = (
    r"SELECT id, webhook_secret FROM tenants WHERE substring(webhook_secret FROM 1 FOR 1) = '\x01'"
    " ORDER BY created_at, id LIMIT 1"
)
_HINT: Final = "Set it to the key that the other processes have; without it nobody can read what is stored."


class WrongMasterKey(SettingsError):
    """The process could not read what the others write, and they could not read what it writes."""


async def check_master_key(database: Database, sealer: Sealer, *, needed: bool = True, writes: bool = True) -> None:
    """Raises WrongMasterKey, or DatabaseUnusable.

    Unless `needed`, a process without a key may go on; unless it `writes`, the first one seals nothing.
    """
    if not sealer.has_key and not needed:
        return
    try:
        async with hot_transaction(database, [], _ALL_TENANTS) as connection:
            if await connection.fetchval("SELECT canary FROM seals WHERE name = $1", _NAME) is None:
                await _check_by_a_secret(connection, sealer)
                if sealer.has_key and writes:
                    await _write(connection, sealer)
            await _check_by_the_canary(connection, sealer)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise DatabaseUnusable(explain_fault(error) or str(error)) from error


async def _check_by_a_secret(connection: Connection, sealer: Sealer) -> None:
    """A database of an older release has no canary yet, but may be sealed."""
    row = await connection.fetchrow(_ONE_SEALED)
    if row is not None:
        try:
            open_secret(sealer, row["webhook_secret"], TenantId(row["id"]))
        except (SealBroken, SettingsError):
            raise _refusal(sealer) from None


async def _write(connection: Connection, sealer: Sealer) -> None:
    canary = sealer.seal(_KNOWN, _NOBODY, _PLACE, _NOBODY)
    # Of two that start at once the second waits for the first, and is then checked against it.
    insert = "INSERT INTO seals (name, canary) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
    await connection.execute(insert, _NAME, canary)


async def _check_by_the_canary(connection: Connection, sealer: Sealer) -> None:
    canary = await connection.fetchval("SELECT canary FROM seals WHERE name = $1", _NAME)
    if canary is not None:
        try:
            sealer.open(canary, _NOBODY, _PLACE, _NOBODY)
        except SealBroken:
            raise _refusal(sealer) from None


def _refusal(sealer: Sealer) -> WrongMasterKey:
    what = (
        "is not the key that this database is sealed with." if sealer.has_key else "is not set, and the data is sealed."
    )
    return WrongMasterKey(f"INFERD_MASTER_KEY: {what} {_HINT}")
