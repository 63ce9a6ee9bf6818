"""Jobs for tests: each builder has good defaults for what a test does not care about."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from core.db.session import Connection
from core.domain.ids import JobId, TenantId, new_job_id
from core.domain.inference import InferenceResult, Usage
from core.domain.job_state import Priority
from core.domain.retry import RetryLimits
from core.domain.transitions import Failure
from core.jobs import store
from core.jobs.context import JobContext
from core.jobs.records import ClaimedJob, Inserted, JobRecord, NewJob
from core.jobs.submit import Draft, Order, submit_job
from tests.support.workers import keep_alive, lose_worker

SEALED_REQUEST = b'\x00{"messages":[{"role":"user","content":"hello"}],"params":{}}'
EVERY_EVENT = ("job.succeeded", "job.failed", "job.cancelled", "job.expired")
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
UNSEALED_OUTPUT = b'\x00{"text":"hello","message":{},"finish_reason":"stop","model":"echo"}'


def draft(**changes: Any) -> Draft:
    """What a caller would submit: one message to echo."""
    given: dict[str, Any] = {"model": "echo/echo", "messages": [{"role": "user", "content": "hello"}]}
    if (attempts := changes.pop("max_attempts", None)) is not None:
        given["retry"] = RetryLimits(attempts)
    return Draft(**(given | changes))


async def submit(
    context: JobContext,
    tenant_id: TenantId,
    *,
    idempotency_key: str | None = None,
    fingerprint: bytes | None = None,
    **changes: Any,
) -> JobRecord:
    """Submits `draft(**changes)` the way the API does."""
    order = Order(draft(**changes), idempotency_key, fingerprint)
    submission = await submit_job(context, tenant_id, order, request_id=None)
    return submission.job


def new_job(tenant_id: TenantId, **changes: Any) -> NewJob:
    """A row for core.jobs.store.insert."""
    given: dict[str, Any] = {
        "id": new_job_id(),
        "tenant_id": tenant_id,
        "model": "echo/echo",
        "request": SEALED_REQUEST,
        "metadata": "{}",
        "priority": Priority.STANDARD,
        "request_id": None,
        "run_at": None,
        "deadline_seconds": None,
        "timeout_seconds": 60.0,
        "max_attempts": 5,
        "retry_initial_seconds": 1.0,
        "retry_max_seconds": 60.0,
        "webhook_url": None,
        "webhook_events": (),
        "idempotency_key": None,
        "fingerprint": None,
    }
    given |= changes
    return NewJob(**(given | {"webhook_events": " ".join(given["webhook_events"]) or None}))


async def insert(connection: Connection, tenant_id: TenantId, **changes: Any) -> JobId:
    """Inserts one job, which must be taken."""
    job = new_job(tenant_id, **changes)
    (inserted,) = await store.insert(connection, [job], key_seconds=3600)
    assert isinstance(inserted, Inserted)
    return job.id


async def claim(
    connection: Connection, job_ids: Sequence[JobId], *, worker_id: str = "worker-1", dead: bool = False
) -> list[ClaimedJob]:
    """Claims jobs, all of which must be free. `dead`: the worker died right after it."""
    await keep_alive(connection, worker_id)
    claimed = await store.claim(connection, job_ids, worker_id=worker_id)
    for job_id in job_ids if dead else ():
        await lose_worker(connection, job_id)
    assert all(isinstance(each, ClaimedJob) for each in claimed), claimed
    return [each for each in claimed if isinstance(each, ClaimedJob)]


def answer(text: str = "hello", **changes: Any) -> InferenceResult:
    given: dict[str, Any] = {
        "text": text,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "model": "echo",
        "usage": Usage(input_tokens=7, output_tokens=3),
        "provider_request_id": "req-1",
    }
    return InferenceResult(**(given | changes))


def failure(**changes: Any) -> Failure:
    given: dict[str, Any] = {
        "error_class": "unavailable",
        "code": "provider_unavailable",
        "message": "The provider is out of service.",
        "http_status": 503,
        "billed": "no",
    }
    return Failure(**(given | changes))


# Puts jobs into a state that their CHECKs allow, without the edges that lead there. $1 is the state.
FORCE_STATE = """
UPDATE jobs SET state = $1, run_no = 3, attempts_used = 2,
    finished_at = CASE WHEN $1 NOT IN ('queued', 'running') THEN now() END,
    lease_token = CASE WHEN $1 = 'running' THEN gen_random_uuid() END,
    worker_id = CASE WHEN $1 = 'running' THEN 'worker-1' END,
    error_code = CASE WHEN $1 = 'failed' THEN 'provider_unavailable' END
WHERE true
"""
