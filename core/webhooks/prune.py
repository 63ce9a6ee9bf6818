"""Retention of what webhooks leave behind that belongs to no job. Run by worker/tasks/prune.py in every worker."""

from typing import Final

import structlog

from core.db.engine import Database
from core.db.session import hot_transaction
from core.observability.metrics import PRUNED, count
from core.settings import RetentionSettings
from core.webhooks.store import statement

BATCH: Final = 500
_DAY: Final = 86_400.0

log = structlog.get_logger(__name__)


async def prune_deliveries(database: Database, retention: RetentionSettings) -> int:
    """One batch, of those as old as the oldest jobs may be. Answers how many; BATCH means that there is more."""
    seconds = max(retention.succeeded_days, retention.failed_days) * _DAY
    async with hot_transaction(database, None) as connection:
        deleted = len(await connection.fetch(statement("prune"), seconds, BATCH))
    if deleted:
        count(PRUNED, "deliveries", by=deleted)
        log.info("pruned", kind="deliveries", count=deleted)
    return deleted
