"""What is wrong with the database, in words for whoever runs inferd. Called by the command line only.

`diagnose` looks at a database without changing it; `explain_fault` turns what a driver raised into what to do. No
message holds the URL, which has a password in it.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError

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
_REFUSALS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    (
        (asyncpg.InvalidAuthorizationSpecificationError,),
        "PostgreSQL refuses the user or the password of INFERD_DATABASE_URL.",
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        "The database that INFERD_DATABASE_URL names does not exist: create it, then run `inferd migrate`.",
    ),
    (
        # The role that every connection drops to comes with the schema.
        (asyncpg.InvalidParameterValueError, asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError),
        "The schema is not there, or not the newest: run `inferd migrate`.",
    ),
    (
        (asyncpg.InsufficientPrivilegeError,),
        f"PostgreSQL denies a right: the login of INFERD_DATABASE_URL must be a member of {APP_ROLE} (GRANT {APP_ROLE} "
        "TO …), and that of INFERD_DATABASE_OWNER_URL must own the schema.",
    ),
    (
        (asyncpg.LockNotAvailableError,),
        "A table is locked by other work, and the migration did not wait for it: try again when that is done.",
    ),
)


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


def explain_fault(error: BaseException) -> str | None:
    """What happened and what to do; None for an error that is not PostgreSQL's absence or refusal."""
    # SQLAlchemy wraps the driver's error twice.
    while isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    for kinds, message in _REFUSALS:
        if isinstance(error, kinds):
            return message
    if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        return f"PostgreSQL at INFERD_DATABASE_URL does not answer ({_named(error)})."
    return None


def _named(error: BaseException) -> str:
    reason = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
