"""Refuses to start a process whose master key is missing or differs from the one that sealed this database.

core/runtime.py calls it at the start. The first process with a key seals a known text and stores it; every later
process must be able to open it. Rows that were written before a key was set stay readable.
"""

from typing import Final
from uuid import UUID

import asyncpg

from core.access.webhook_secrets import open_secret
from core.db.engine import Database, until_answered
from core.db.sealed import SealBroken, Sealer
from core.db.session import hot_transaction
from core.db.statements import Statement
from core.domain.ids import TenantId
from core.settings import SettingsError

_NAME: Final = "master_key"
_PLACE: Final = "seals.canary"
_NOBODY: Final = UUID(int=0)
_KNOWN: Final = b"inferd"
# An API process may not see all tenants; here it reads one sealed row of any tenant and returns nothing of it.
_ALL_TENANTS: Final = "SELECT set_config('app.fleet', 'on', true)"
_HINT: Final = "Set it to the key that the other processes use: the stored data can't be decrypted without it."

CANARY: Final = Statement("core/access/sql/canary.sql")
KEEP_CANARY: Final = Statement("core/access/sql/keep_canary.sql")
SEALED_SECRET: Final = Statement("core/access/sql/sealed_secret.sql")


class WrongMasterKey(SettingsError):
    """With this key, the process and the others could not read each other's data."""


async def check_master_key(
    database: Database, sealer: Sealer, *, needed: bool = True, writes: bool = True, wait_seconds: float = 0.0
) -> None:
    """Raises WrongMasterKey, or DatabaseUnusable when PostgreSQL does not respond within `wait_seconds`.

    With `needed=False` a process without a key is accepted; with `writes=False` nothing is stored.
    """
    if not sealer.has_key and not needed:
        return
    if not await until_answered(lambda: _fits(database, sealer, writes=writes), wait_seconds):
        raise _refusal(sealer)


async def _fits(database: Database, sealer: Sealer, *, writes: bool) -> bool:
    async with hot_transaction(database, [], _ALL_TENANTS) as connection:
        if (kept := await CANARY.fetchrow(connection, name=_NAME)) is not None:
            return _opens_canary(sealer, kept)
        # A database of an older release has no canary yet, but may have sealed rows.
        if not _opens_secret(sealer, await SEALED_SECRET.fetchrow(connection)):
            return False
        if sealer.has_key and writes:
            # If two processes start at once, the second waits for the first and is checked against its canary.
            canary = sealer.seal(_KNOWN, _NOBODY, _PLACE, _NOBODY)
            await KEEP_CANARY.execute(connection, name=_NAME, canary=canary)
            kept = await CANARY.fetchrow(connection, name=_NAME)
            return kept is not None and _opens_canary(sealer, kept)
    return True


def _opens_secret(sealer: Sealer, row: asyncpg.Record | None) -> bool:
    if row is None:
        return True
    try:
        open_secret(sealer, row["webhook_secret"], TenantId(row["id"]))
    except SealBroken:
        return False
    return True


def _opens_canary(sealer: Sealer, kept: asyncpg.Record) -> bool:
    try:
        return sealer.open(kept["canary"], _NOBODY, _PLACE, _NOBODY) == _KNOWN
    except SealBroken:
        return False


def _refusal(sealer: Sealer) -> WrongMasterKey:
    what = (
        "is not the key that this database is encrypted with."
        if sealer.has_key
        else "is not set, but the data is encrypted."
    )
    return WrongMasterKey(f"INFERD_MASTER_KEY: {what} {_HINT}")
