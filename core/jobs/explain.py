"""What a caller can do about a job that did not succeed. Called by api/jobs/schemas/job.py."""

from core.domain.errors import JOB_NEXT_STEPS
from core.providers.fault_codes import CODES, FaultCode


def next_step(error_code: str) -> str:
    """One sentence for every code that a job's error may have."""
    own = JOB_NEXT_STEPS.get(error_code)
    if own is not None:
        return own
    try:
        return CODES[FaultCode(error_code)].next_step
    except ValueError:
        return "Read the message, then retry the job or submit a new one."
