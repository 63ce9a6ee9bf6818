"""Cancels jobs: at once for readers, then the running call is closed. Called by the routes.

Linearisable: the row is locked, so either the cancel commits first and no success can follow (its token is gone), or
the answer was there first and the cancel changes nothing.
"""

from collections.abc import Sequence

from core.db.session import hot_transaction
from core.domain import transitions
from core.domain.ids import JobId, TenantId
from core.domain.job_state import TERMINAL
from core.jobs import store
from core.jobs.change import ChangeOutcome, apply_to, outcome_of, publish
from core.jobs.context import JobContext


async def cancel_jobs(context: JobContext, tenant_id: TenantId, job_ids: Sequence[JobId]) -> ChangeOutcome:
    """Cancels those that have not ended."""
    async with hot_transaction(context.database, [tenant_id]) as connection:
        held = await store.hold(connection, tenant_id, job_ids)
        wanted = [(job, transitions.cancel()) for job in held.values() if job.state not in TERMINAL]
        changed = await apply_to(connection, wanted)
    publish(context, changed)
    return outcome_of(held, changed)
