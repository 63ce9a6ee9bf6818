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
from core.domain.ids import TenantId
from core.settings import SettingsError

_NAME: Final = "master_key"
_PLACE: Final = "seals.canary"
_NOBODY: Final = UUID(int=0)
_KNOWN: Final = b"inferd"
# An API process may not see all tenants; here it reads one sealed row of any tenant and returns nothing of it.
_ALL_TENANTS: Final = "SELECT set_config('app.fleet', 'on', true)"
# The first byte of a sealed record (core/db/sealed.py).
_ONE_SEALED: Final = (
    r"SELECT id, webhook_secret FROM tenants WHERE substring(webhook_secret FROM 1 FOR 1) = '\x01'"
    " ORDER BY created_at, id LIMIT 1"
)
_CANARY: Final = "SELECT canary FROM seals WHERE name = $1"
_SEAL: Final = "INSERT INTO seals (name, canary) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
_HINT: Final = "Set it to the key that the other processes use: the stored data can't be decrypted without it."


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
        canary = await connection.fetchval(_CANARY, _NAME)
        if canary is not None:
            return _opens_canary(sealer, canary)
        # A database of an older release has no canary yet, but may have sealed rows.
        if not _opens_secret(sealer, await connection.fetchrow(_ONE_SEALED)):
            return False
        if sealer.has_key and writes:
            # If two processes start at once, the second waits for the first and is checked against its canary.
            await connection.execute(_SEAL, _NAME, sealer.seal(_KNOWN, _NOBODY, _PLACE, _NOBODY))
            return _opens_canary(sealer, await connection.fetchval(_CANARY, _NAME))
    return True


def _opens_secret(sealer: Sealer, row: asyncpg.Record | None) -> bool:
    if row is None:
        return True
    try:
        open_secret(sealer, row["webhook_secret"], TenantId(row["id"]))
    except SealBroken:
        return False
    return True


def _opens_canary(sealer: Sealer, canary: bytes) -> bool:
    try:
        return sealer.open(canary, _NOBODY, _PLACE, _NOBODY) == _KNOWN
    except SealBroken:
        return False


def _refusal(sealer: Sealer) -> WrongMasterKey:
    what = (
        "is not the key that this database is encrypted with."
        if sealer.has_key
        else "is not set, but the data is encrypted."
    )
    return WrongMasterKey(f"INFERD_MASTER_KEY: {what} {_HINT}")
