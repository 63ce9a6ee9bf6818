"""What a worker does with one job: claims it and runs it."""

from core.domain.ids import JobId
from core.domain.run_again import RunAgain
from core.jobs.context import RunContext
from core.jobs.execute import ClaimedRun, claim_jobs, run_claimed


async def execute_job(context: RunContext, job_id: JobId) -> RunAgain:
    """Returns when the job runs again."""
    (found,) = await claim_jobs(context, [job_id])
    match found:
        case ClaimedRun():
            return await run_claimed(context, found)
        case BaseException():
            raise found
        case _:
            return found
