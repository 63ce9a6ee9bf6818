"""Deletes old deliveries that belong to no job, and the deliveries of deleted endpoints.

Run by worker/tasks/prune.py in every worker, in small batches that hold nobody up; all of them share the work.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from core.db.engine import Database
from core.db.session import hot_transaction
from core.db.statements import Statement
from core.observability.metrics import PRUNED, count
from core.settings import RetentionSettings

BATCH: Final = 500
_DAY: Final = 86_400.0
# Endpoints that one batch looks at: some 20 ms when all of them exist.
_ENDPOINTS: Final = 1000
_FIRST: Final = UUID(int=0)

PRUNE: Final = Statement("core/webhooks/sql/prune.sql")
PRUNE_GONE: Final = Statement("core/webhooks/sql/prune_gone.sql")

log = structlog.get_logger(__name__)


async def prune_deliveries(database: Database, retention: RetentionSettings) -> int:
    """One batch, of those as old as the oldest jobs may be. Returns how many; BATCH means that there is more."""
    seconds = max(retention.succeeded_days, retention.failed_days) * _DAY
    async with hot_transaction(database, None) as connection:
        deleted = len(await PRUNE.fetch(connection, seconds=seconds, most=BATCH))
    _count(deleted)
    return deleted


@dataclass(slots=True)
class GoneEndpoints:
    """Deletes the deliveries of deleted endpoints. Remembers how far it is; beginning anew costs time and nothing else.

    No list of deleted endpoints is kept: it would miss a delivery that was made while its endpoint went.
    """

    database: Database
    _tenant_id: UUID = _FIRST
    _endpoint_id: UUID = _FIRST

    async def prune(self) -> int:
        """One batch. Returns how many; BATCH means that there is more to look at."""
        async with hot_transaction(self.database, None) as connection:
            row = await PRUNE_GONE.fetchrow(
                connection,
                after_tenant=self._tenant_id,
                after_endpoint=self._endpoint_id,
                endpoints=_ENDPOINTS,
                most=BATCH,
            )
        if row is None:
            self._tenant_id, self._endpoint_id = _FIRST, _FIRST
            return 0
        deleted = int(row["deleted"])
        _count(deleted)
        if deleted < BATCH:
            # Nothing is left of this one, or what is left is being sent.
            self._tenant_id, self._endpoint_id = row["tenant_id"], row["endpoint_id"]
            return BATCH if row["found"] or row["looked_at"] == _ENDPOINTS else deleted
        return deleted


def _count(deleted: int) -> None:
    if deleted:
        count(PRUNED, "deliveries", by=deleted)
        log.info("pruned", kind="deliveries", count=deleted)
