"""Retention: deletes what is older than the settings allow, in small batches that hold no lock for long.

Run by worker/tasks/prune.py in every worker; rows are taken with SKIP LOCKED, so any number of them share the work.
The order is jobs, then idempotency keys, then the memory of deleted jobs.
"""

from typing import Final

import structlog

from core.db.session import hot_transaction
from core.db.statements import Statement
from core.domain.job_state import TERMINAL, JobState
from core.jobs.context import JobContext
from core.observability.metrics import PRUNED, count
from core.settings import RetentionSettings

BATCH: Final = 500
_DAY: Final = 86_400.0

PRUNE_JOBS: Final = Statement("core/jobs/sql/prune_jobs.sql")
PRUNE_KEYS: Final = Statement("core/jobs/sql/prune_keys.sql")
PRUNE_DELETED: Final = Statement("core/jobs/sql/prune_deleted.sql")

log = structlog.get_logger(__name__)


async def prune(context: JobContext, retention: RetentionSettings) -> int:
    """Deletes one batch of everything. Returns the largest batch's size; BATCH means that there is more."""
    counts = [
        await _prune(context, "jobs", PRUNE_JOBS, state=state, seconds=_seconds(state, retention)) for state in _STATES
    ]
    counts.append(await _prune(context, "idempotency_keys", PRUNE_KEYS))
    counts.append(await _prune(context, "deleted_jobs", PRUNE_DELETED, seconds=retention.deleted_days * _DAY))
    return max(counts)


_STATES: Final = tuple(sorted(TERMINAL))


def _seconds(state: JobState, retention: RetentionSettings) -> float:
    return (retention.succeeded_days if state is JobState.SUCCEEDED else retention.failed_days) * _DAY


async def _prune(context: JobContext, kind: str, statement: Statement[object], **named: object) -> int:
    async with hot_transaction(context.database, None) as connection:
        deleted = len(await statement.fetch(connection, **named, most=BATCH))
    if deleted:
        count(PRUNED, kind, by=deleted)
        log.info("pruned", kind=kind, count=deleted)
    return deleted
