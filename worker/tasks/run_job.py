"""Stop 4 of 9 · from core/queue/ring.py · to core/jobs/execute.py

The arq task that a job's ring starts.
"""

from typing import cast

from core.domain.ids import parse_job
from core.jobs.execute import execute_job
from core.runtime import WorkerRuntime


async def run_job(ctx: dict[str, object], member: str) -> float | None:
    """Runs the job named by `member` (`job_…`). Answers after how many seconds to run it again, or None."""
    runtime = cast(WorkerRuntime, ctx["runtime"])
    return await execute_job(runtime.jobs, parse_job(member))
