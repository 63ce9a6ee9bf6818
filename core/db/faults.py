"""Which errors mean that PostgreSQL is absent, starting, locked or refuses a value: listed once, for both drivers.

api/http/errors.py turns absence into 503; core/db/grouping.py and core/jobs/finish.py decide by these lists what to try
again; `explain_fault` tells the operator what to do. No message holds the URL, which has a password in it.
"""

from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

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
        "PostgreSQL denies a right. INFERD_DATABASE_URL needs a member of inferd_app, `inferd migrate` the owner.",
    ),
    (
        (asyncpg.LockNotAvailableError,),
        "Other work keeps a table locked for longer than the migration waits: try again when that is done.",
    ),
)
# Somebody else holds a row or a table for longer than a statement may wait.
ROW_LOCKED: Final = (asyncpg.LockNotAvailableError,)
# PostgreSQL is away, restarting, full, or chose this statement as a victim: the same may work later.
STORE_FAULTS: Final = (
    *ROW_LOCKED,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    # This process stood still within a transaction.
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    # A pooled connection that broke in the middle of something.
    asyncpg.InternalClientError,
    DBAPIError,
    # Every session is in use.
    PoolTimeout,
    OSError,
    TimeoutError,
)
# Nobody listens, or PostgreSQL is still starting or recovering: worth waiting for when a process starts.
NOT_READY: Final = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
# PostgreSQL is there and refuses these very values: the same can never work.
REFUSED_VALUES: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    UnicodeEncodeError,
)
# Errors in a statement or its values, which no repetition cures. SQLAlchemy has no class for some of them.
_OURS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.SyntaxOrAccessError,
    OverflowError,
    TypeError,
    ValueError,
)


def is_store_fault(error: BaseException) -> bool:
    """Whether `error` is PostgreSQL's absence. SQLAlchemy's class for it has subclasses that are bugs."""
    if isinstance(error, DBAPIError):
        return not isinstance(error, IntegrityError | ProgrammingError) and not isinstance(driver_error(error), _OURS)
    return isinstance(error, STORE_FAULTS)


def explain_fault(error: BaseException) -> str | None:
    """Says what happened and what to do; None for an error that is not PostgreSQL's absence or refusal."""
    error = driver_error(error)
    for kinds, message in _REFUSALS:
        if isinstance(error, kinds):
            return message
    if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        return f"PostgreSQL at INFERD_DATABASE_URL does not answer ({_named(error)})."
    return None


def driver_error(error: BaseException) -> BaseException:
    """The driver's own error, which SQLAlchemy wraps twice; any other error as it is."""
    while isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    return error


def _named(error: BaseException) -> str:
    reason = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
