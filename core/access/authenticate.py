"""Turns an Authorization header into a Caller. api/http/admission.py calls it for every request except health checks.

A valid key is cached, so a revoked key is refused everywhere within CACHE_SECONDS.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final

from core.access.keys import PresentedKey, parse_key
from core.db.engine import Database
from core.db.statements import Statement
from core.domain.clock import Clock
from core.domain.errors import Unauthenticated
from core.domain.ids import KeyId, TenantId

CACHE_SECONDS: Final = 10.0
_CACHE_SIZE: Final = 10_000
_POOL_SECONDS: Final = 3.0
_NOBODY: Final = bytes(32)

KEY: Final = Statement("core/access/sql/key.sql")
NOTE_USE: Final = Statement("core/access/sql/note_use.sql")


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated tenant and the key of the request."""

    tenant_id: TenantId
    key_id: KeyId
    key: PresentedKey = field(repr=False)


@dataclass(slots=True)
class Authenticator:
    """Authenticates the requests of one process, with a cache."""

    database: Database
    clock: Clock
    _known: dict[bytes, tuple[float, Caller]] = field(default_factory=dict)

    async def authenticate(self, header: str | None) -> Caller:
        """Returns the caller of `Authorization: Bearer inf_…`. Raises Unauthenticated, one code for all reasons."""
        return await self._caller_of(_presented(header))

    async def still_good(self, caller: Caller) -> bool:
        """Whether the key of a long-running request is still valid."""
        try:
            await self._caller_of(caller.key)
        except Unauthenticated:
            return False
        return True

    async def _caller_of(self, key: PresentedKey) -> Caller:
        now = self.clock.monotonic()
        known = self._known.get(key.secret_hash)
        if known is not None and known[0] > now:
            return known[1]
        caller = await self._look_up(key)
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[key.secret_hash] = (now + CACHE_SECONDS, caller)
        return caller

    async def _look_up(self, key: PresentedKey) -> Caller:
        async with self.database.pool.acquire(timeout=_POOL_SECONDS) as connection, connection.transaction():
            await connection.execute("SELECT set_config('app.key_id', $1, true)", key.public_id)
            row = await KEY.fetchrow(connection, public_id=key.public_id)
            # Compares even for an unknown id, so that it takes as long as a wrong secret.
            same = hmac.compare_digest(_NOBODY if row is None else row["secret_hash"], key.secret_hash)
            if row is not None and same:
                await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(row["tenant_id"]))
                await NOTE_USE.execute(connection, tenant_id=row["tenant_id"], id=row["id"])
        if row is None or not same:
            raise Unauthenticated("This API key is unknown, revoked or expired.")
        return Caller(TenantId(row["tenant_id"]), KeyId(row["id"]), key)


def _presented(header: str | None) -> PresentedKey:
    """Returns the well-formed key of the header. The errors say only what the sender can see: nothing is looked up."""
    scheme, _, credentials = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not credentials.strip():
        raise Unauthenticated(
            "No API key: send one as `Authorization: Bearer inf_…`. Create one with: inferd keys create --tenant NAME"
        )
    key = parse_key(credentials.strip())
    if key is None:
        raise Unauthenticated(
            "Malformed API key: it is mistyped or cut off. Send the whole key, `inf_live_…`, as it was shown when it "
            "was created."
        )
    return key
