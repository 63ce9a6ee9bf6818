"""Cancels or retries all jobs of a caller that match a filter, a batch of rows at a time. Called by the routes.

Each batch is a transaction of its own, so a bulk change never holds many locks; one that is cut short has done
what it had done, and asking again does the rest.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.db.session import reading
from core.domain.ids import JobId, TenantId
from core.domain.job_state import EDGES, Edge
from core.jobs.cancel import cancel_jobs
from core.jobs.context import JobContext
from core.jobs.queries import JobFilter, list_ids
from core.jobs.retry import retry_jobs

_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """How many jobs were changed, and whether more may match."""

    changed: int
    has_more: bool


async def cancel_matching(context: JobContext, tenant_id: TenantId, wanted: JobFilter, limit: int) -> BulkOutcome:
    """Cancels up to `limit` jobs that have not ended."""

    async def change(job_ids: Sequence[JobId]) -> int:
        return len((await cancel_jobs(context, tenant_id, job_ids)).changed)

    return await _each_batch(context, tenant_id, wanted, Edge.CANCEL, limit, change)


async def retry_matching(context: JobContext, tenant_id: TenantId, wanted: JobFilter, limit: int) -> BulkOutcome:
    """Queues up to `limit` failed, cancelled or expired jobs again."""

    async def change(job_ids: Sequence[JobId]) -> int:
        return len((await retry_jobs(context, tenant_id, job_ids)).changed)

    return await _each_batch(context, tenant_id, wanted, Edge.RETRY, limit, change)


async def _each_batch(
    context: JobContext,
    tenant_id: TenantId,
    wanted: JobFilter,
    edge: Edge,
    limit: int,
    change: Callable[[Sequence[JobId]], Awaitable[int]],
) -> BulkOutcome:
    may = EDGES[edge].from_states
    states = tuple(sorted(may & set(wanted.states) if wanted.states else may))
    if not states:
        return BulkOutcome(0, has_more=False)
    seen = changed = 0
    before: JobId | None = None
    while True:
        size = min(_BATCH, limit - seen)
        async with reading(context.database, tenant_id) as session:
            # One more, to know whether there is one.
            found = await list_ids(session, tenant_id, replace(wanted, states=states), before=before, limit=size + 1)
        ids = found[:size]
        if ids:
            changed += await change(ids)
            seen, before = seen + len(ids), ids[-1]
        if len(found) <= size or seen == limit:
            return BulkOutcome(changed, has_more=len(found) > size)
