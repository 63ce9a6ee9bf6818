"""Skips or moves the waiting deliveries of an endpoint that was disabled or has another URL.

Run by worker/tasks/sweep.py. Nothing depends on it being done soon: the claim reads the endpoint itself.
"""

from typing import Final

from core.db.engine import Database
from core.db.session import hot_transaction
from core.db.statements import Statement

_BATCH: Final = 500
# A sweep has other things to do.
_BATCHES_A_SWEEP: Final = 10

SETTLE: Final = Statement("core/webhooks/sql/settle.sql")


async def settle_endpoints(database: Database) -> int:
    """Carries on with the endpoints that wait for it, for some batches. Returns how many those were."""
    for batches in range(_BATCHES_A_SWEEP):
        async with hot_transaction(database, None) as connection:
            if await SETTLE.fetchrow(connection, most=_BATCH, endpoint_id=None) is None:
                return batches
    return _BATCHES_A_SWEEP
