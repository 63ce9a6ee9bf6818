"""Makes waiting deliveries as their endpoint is, after it was disabled or has another URL.

Run by worker/tasks/sweep.py. Nothing depends on it being done soon: the claim looks at the endpoint itself.
"""

from typing import Final

from core.db.engine import Database
from core.db.session import hot_transaction
from core.webhooks.deliveries.store import statement

_BATCH: Final = 500
# A sweep has other things to do.
_BATCHES_A_SWEEP: Final = 10


async def settle_endpoints(database: Database) -> int:
    """Carries on with the endpoints that wait for it, for some batches. Returns how many those were."""
    for batches in range(_BATCHES_A_SWEEP):
        async with hot_transaction(database, None) as connection:
            if await connection.fetchrow(statement("settle"), _BATCH, None) is None:
                return batches
    return _BATCHES_A_SWEEP
