"""Refuses a process whose master key is missing or is not the one that this database is sealed with.

Called by core/runtime.py at the start. The first process that has a key seals a known text and stores it; from then on
everybody must be able to open that. Rows that were written before a key was set stay readable with one.
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
# An API process sees no tenant of its own accord; here it looks at one sealed row of any, and returns nothing of it.
_ALL_TENANTS: Final = "SELECT set_config('app.fleet', 'on', true)"
# The first byte of a sealed record (core/db/sealed.py).
_ONE_SEALED: Final = (
    r"SELECT id, webhook_secret FROM tenants WHERE substring(webhook_secret FROM 1 FOR 1) = '\x01'"
    " ORDER BY created_at, id LIMIT 1"
)
_CANARY: Final = "SELECT canary FROM seals WHERE name = $1"
_SEAL: Final = "INSERT INTO seals (name, canary) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
_HINT: Final = "Set it to the key that the other processes use; the stored data can't be read without it."


class WrongMasterKey(SettingsError):
    """The process could not read what the others write, and they could not read what it writes."""


async def check_master_key(
    database: Database, sealer: Sealer, *, needed: bool = True, writes: bool = True, wait_seconds: float = 0.0
) -> None:
    """Raises WrongMasterKey, or DatabaseUnusable when PostgreSQL does not answer for `wait_seconds`.

    Unless `needed`, a process without a key may go on; unless it `writes`, the first one seals nothing.
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
        # A database of an older release has no canary yet, but may be sealed.
        if not _opens_secret(sealer, await connection.fetchrow(_ONE_SEALED)):
            return False
        if sealer.has_key and writes:
            # Of two that start at once the second waits for the first, and is checked against it.
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
