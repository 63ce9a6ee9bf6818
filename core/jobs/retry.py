"""Queues jobs again that ended without an answer: same id, a fresh budget, run_no goes on. Called by the routes."""

from collections.abc import Sequence

from core.db.session import hot_transaction
from core.domain import transitions
from core.domain.ids import JobId, TenantId
from core.domain.job_state import EDGES, Edge
from core.jobs import store
from core.jobs.change import ChangeOutcome, apply_to, outcome_of, publish
from core.jobs.context import JobContext


async def retry_jobs(context: JobContext, tenant_id: TenantId, job_ids: Sequence[JobId]) -> ChangeOutcome:
    """Retries those that may be."""
    async with hot_transaction(context.database, [tenant_id]) as connection:
        held = await store.hold(connection, tenant_id, job_ids)
        may = EDGES[Edge.RETRY].from_states
        wanted = [(job, transitions.retry()) for job in held.values() if job.state in may]
        changed = await apply_to(connection, wanted)
    publish(context, changed)
    return outcome_of(held, changed)
