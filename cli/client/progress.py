"""Says in words what happened to a job between two readings. Pure; used by `inferd run`, `jobs wait` and `demo`."""

from cli.client.http import Attempt, Job


def changes(before: Job | None, after: Job) -> list[str]:
    """Returns one line for each thing that is new since `before`, which is None for the first reading."""
    seen = len(_ended(before)) if before is not None else 0
    lines = [_attempt_line(attempt) for attempt in _ended(after)[seen:] if attempt.error is not None]
    if before is None or (before.status, before.attempts_used) != (after.status, after.attempts_used):
        lines.append(_status_line(after))
    return lines


def _ended(job: Job) -> list[Attempt]:
    return [attempt for attempt in job.attempts if attempt.outcome != "running"]


def _status_line(job: Job) -> str:
    if job.status == "running" and job.attempts_used > 1:
        return f"running (attempt {job.attempts_used})"
    return job.status


def _attempt_line(attempt: Attempt) -> str:
    # A snoozed run uses up no attempt, so several of them have the same number.
    what = "postponed" if attempt.outcome == "snoozed" else f"attempt {attempt.attempt}"
    error = attempt.error.code if attempt.error else "no error"
    status = f" (HTTP {attempt.http_status})" if attempt.http_status else ""
    again = f"; again in {attempt.wait_seconds:.1f} s" if attempt.wait_seconds is not None else ""
    return f"{what}: {error}{status}{again}"
