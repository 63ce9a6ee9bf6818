"""What PostgreSQL's absence looks like: the errors of both drivers that mean "not now", and no bug.

Raised by everything that reads or writes rows; api/errors.py answers them with 503.
"""

from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError

STORE_FAULTS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    DBAPIError,
    OSError,
    TimeoutError,
)
