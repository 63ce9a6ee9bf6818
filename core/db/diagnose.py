"""Finds out what is wrong with the database, for the operator. Called by the command line only.

`diagnose` looks at a database without changing it; what it raises is explained by core/db/faults.py.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from core.db.engine import APP_ROLE, driver_url
from core.db.migrate import current_revision, newest_revision
from core.settings import DatabaseSettings

_LOOK: Final = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
    session_user::text AS login, role.oid IS NOT NULL AS role_exists,
    coalesce(role.rolsuper OR role.rolbypassrls, false) AS role_is_mighty,
    coalesce(pg_has_role(session_user, role.oid, 'MEMBER'), false) AS may_be_role,
    EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('public.jobs') AND relowner = role.oid) AS role_owns_tables
FROM (SELECT) AS always LEFT JOIN pg_roles AS role ON role.rolname = $1
"""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A database as its login finds it. `revision` is None when nothing was migrated."""

    version: str
    version_number: int
    login: str
    role_exists: bool
    role_is_mighty: bool
    may_be_role: bool
    role_owns_tables: bool
    revision: str | None
    newest_revision: str


async def diagnose(settings: DatabaseSettings) -> Diagnosis:
    """Raises what `explain_fault` explains."""
    url = settings.url.get_secret_value()
    connection = await asyncpg.connect(driver_url(url), timeout=settings.connect_timeout_seconds)
    try:
        row = await connection.fetchrow(_LOOK, APP_ROLE)
    finally:
        await connection.close(timeout=1)
    assert row is not None  # noqa: S101 - the query always has a row
    return Diagnosis(**row, revision=await current_revision(url), newest_revision=newest_revision())
