"""Deletes a job with everything that belongs to it; reading it answers 410 for a while. Called by the routes."""

from core.db.session import hot_transaction
from core.domain.ids import JobId, TenantId
from core.jobs import store
from core.jobs.cancel import cancel_jobs
from core.jobs.context import JobContext
from core.jobs.records import JobKey


async def delete_job(context: JobContext, tenant_id: TenantId, job_id: JobId) -> bool:
    """Cancels the job if it has not ended, then deletes it. False when the caller has no such job."""
    if job_id not in (await cancel_jobs(context, tenant_id, [job_id])).states:
        return False
    async with hot_transaction(context.database, [tenant_id]) as connection:
        return await store.delete(connection, [JobKey(job_id, tenant_id)]) == 1
