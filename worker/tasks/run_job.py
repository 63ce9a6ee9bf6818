"""Stop 4 of 9 · from core/queue/enqueue.py · to core/jobs/execute.py

The arq task that an enqueued job starts: claimed with the others that came with it, run by itself.
"""

from collections.abc import Sequence
from typing import cast

from core.domain.ids import InvalidId, JobId, parse_job
from core.domain.run_again import RunAgain
from core.jobs.execute import ClaimedRun, claim_jobs, run_claimed
from core.queue.admission import Admission, Admitted
from core.runtime import WorkerRuntime


async def admit_jobs(ctx: dict[str, object], members: Sequence[str]) -> list[Admission]:
    """Claims the jobs named by `members` (`job_…`)."""
    runtime = cast(WorkerRuntime, ctx["runtime"])
    job_ids = {member: _job_id(member) for member in members}
    wanted = [job_id for job_id in job_ids.values() if not isinstance(job_id, InvalidId)]
    claimed = iter(await claim_jobs(runtime.jobs, wanted))
    return [
        job_id if isinstance(job_id := job_ids[member], InvalidId) else _admission(next(claimed)) for member in members
    ]


async def run_job(ctx: dict[str, object], member: str, claimed: object) -> RunAgain:  # noqa: ARG001 - arq's way
    """Runs the job that was claimed for `member`."""
    runtime = cast(WorkerRuntime, ctx["runtime"])
    return await run_claimed(runtime.jobs, cast(ClaimedRun, claimed))


def _job_id(member: str) -> JobId | InvalidId:
    try:
        return parse_job(member)
    except InvalidId as error:
        return error


def _admission(found: ClaimedRun | RunAgain | BaseException) -> Admission:
    return Admitted(found) if isinstance(found, ClaimedRun) else found
