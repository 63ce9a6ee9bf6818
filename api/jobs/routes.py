"""Stop 1 of 9 · from the client · to core/jobs/submit.py

`/v1/jobs`: submit a job, read it, list them, cancel, retry, delete. Every read is from PostgreSQL.
"""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.types import Receive

from api.http.admission import Admission
from api.http.deps import AdmissionDep, BodyDep, CallerDep, JobIdDep, RequestIdDep, RuntimeDep
from api.http.errors import is_expected
from api.http.json_response import json_response
from api.http.openapi import answers, body_of
from api.http.waiting import PreferDep, WaitDep, wait_of_prefer, wait_of_query, while_connected
from api.jobs.drafts import check_key, fingerprint, read_draft
from api.jobs.schemas.job import JobListView, JobView, etag, job_view, summary_view
from api.jobs.schemas.listing import ListQuery, metadata_pairs
from api.jobs.schemas.submit import SubmitJob
from core.access.authenticate import Caller
from core.db.session import reading
from core.domain.errors import Conflict, Unauthenticated
from core.domain.ids import JobId, show_job
from core.domain.job_state import EDGES, TERMINAL, Edge
from core.jobs.cancel import cancel_jobs
from core.jobs.delete import delete_job
from core.jobs.queries import list_jobs, why_missing
from core.jobs.records import JobRecord
from core.jobs.retry import retry_jobs
from core.jobs.submit import Order, submit_job
from core.runtime import ApiRuntime

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_POLL_AGAIN: Final = "1"


@router.post("", status_code=202, responses=answers(JobView, 202, 200), openapi_extra=body_of(SubmitJob))
async def submit(
    request: Request,
    runtime: RuntimeDep,
    admission: AdmissionDep,
    caller: CallerDep,
    body: BodyDep,
    request_id: RequestIdDep,
    prefer: PreferDep = None,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Accepts a job: 202 once it is committed, or 200 when it ended within `Prefer: wait=n`."""
    wait = wait_of_prefer(prefer, runtime.settings.api.max_wait_seconds)
    order = Order(
        read_draft(runtime, body),
        idempotency_key=check_key(idempotency_key),
        fingerprint=None if idempotency_key is None else fingerprint(body),
    )
    submission = await submit_job(runtime.jobs, caller.tenant_id, order, request_id=request_id)
    job = submission.job
    headers = {"location": f"/v1/jobs/{show_job(job.id)}"}
    if submission.replayed:
        headers["idempotency-replayed"] = "true"
    if wait is not None:
        headers["preference-applied"] = f"wait={wait:g}"
        job = await _awaited(request.receive, runtime, admission, caller, job, wait)
    return _answer(runtime, job, status=200 if job.state in TERMINAL else 202, headers=headers)


@router.get("/{job_id}", responses=answers(JobView, 200))
async def get(
    request: Request,
    runtime: RuntimeDep,
    admission: AdmissionDep,
    caller: CallerDep,
    job_id: JobIdDep,
    wait: WaitDep = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The job as it stands, or as it ended within `?wait=n`; 304 when `If-None-Match` still holds."""
    seconds = wait_of_query(wait, runtime.settings.api.max_wait_seconds)
    if seconds:
        with admission.waiting(caller.tenant_id):
            job = await while_connected(request.receive, _find(runtime, caller, job_id, seconds))
            if not await runtime.authenticator.still_good(caller):
                raise Unauthenticated("This API key was revoked or has expired.")
    else:
        job = await _find(runtime, caller, job_id)
    if if_none_match is not None and etag(job) in (each.strip() for each in if_none_match.split(",")):
        return Response(status_code=304, headers={"etag": etag(job)})
    return _answer(runtime, job)


@router.get("", responses=answers(JobListView, 200))
async def list_(
    runtime: RuntimeDep,
    caller: CallerDep,
    query: Annotated[ListQuery, Query()],
    metadata: Annotated[tuple[tuple[str, str], ...], Depends(metadata_pairs)],
) -> Response:
    """The caller's jobs, newest first, a page at a time."""
    async with reading(runtime.database, caller.tenant_id) as session:
        page = await list_jobs(
            session, caller.tenant_id, query.filter(metadata), before=query.before_id(), limit=query.limit
        )
    return json_response(
        {
            "object": "list",
            "data": [summary_view(job, _base_url(runtime)) for job in page.items],
            "has_more": page.has_more,
            "next_cursor": show_job(page.items[-1].id) if page.has_more else None,
        }
    )


@router.post("/{job_id}/cancel", responses=answers(JobView, 200))
async def cancel(runtime: RuntimeDep, caller: CallerDep, job_id: JobIdDep) -> Response:
    """Cancels the job; one that had ended is unchanged. After an answer of cancelled no success becomes visible."""
    await cancel_jobs(runtime.jobs, caller.tenant_id, [job_id])
    return _answer(runtime, await _find(runtime, caller, job_id))


@router.post("/{job_id}/retry", status_code=202, responses=answers(JobView, 202))
async def retry(runtime: RuntimeDep, caller: CallerDep, job_id: JobIdDep) -> Response:
    """Queues a failed, cancelled or expired job again, under the same id, with a fresh budget of attempts."""
    outcome = await retry_jobs(runtime.jobs, caller.tenant_id, [job_id])
    state = outcome.states.get(job_id)
    if state is not None and state not in EDGES[Edge.RETRY].from_states:
        raise Conflict(f"The job is {state}; only a failed, cancelled or expired one can be retried.")
    return _answer(runtime, await _find(runtime, caller, job_id), status=202)


@router.delete("/{job_id}", status_code=204, responses=answers(None))
async def delete(runtime: RuntimeDep, caller: CallerDep, job_id: JobIdDep) -> Response:
    """Cancels the job if it has not ended, and deletes it with its result; reading it answers 410 from then on."""
    if not await delete_job(runtime.jobs, caller.tenant_id, job_id):
        raise await _why_missing(runtime, caller, job_id)
    return Response(status_code=204)


async def _awaited(
    receive: Receive, runtime: ApiRuntime, admission: Admission, caller: Caller, job: JobRecord, seconds: float
) -> JobRecord:
    """The job after the wait. It is stored whatever happens now, so this raises nothing: at worst it is as it was."""
    try:
        with admission.waiting(caller.tenant_id):
            ended = await while_connected(receive, runtime.watch.until_ended(job.id, caller.tenant_id, seconds))
            return ended if ended is not None and await runtime.authenticator.still_good(caller) else job
    except Exception as error:
        if not is_expected(error):
            raise
        return job


async def _find(runtime: ApiRuntime, caller: Caller, job_id: JobId, wait: float = 0.0) -> JobRecord:
    job = await runtime.watch.until_ended(job_id, caller.tenant_id, wait)
    if job is None:
        raise await _why_missing(runtime, caller, job_id)
    return job


async def _why_missing(runtime: ApiRuntime, caller: Caller, job_id: JobId) -> Exception:
    async with reading(runtime.database, caller.tenant_id) as session:
        return await why_missing(session, caller.tenant_id, job_id)


def _answer(
    runtime: ApiRuntime, job: JobRecord, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    sent = {"etag": etag(job), **(headers or {})}
    if job.state not in TERMINAL:
        sent["retry-after"] = _POLL_AGAIN
    return json_response(job_view(job, _base_url(runtime)), status, sent)


def _base_url(runtime: ApiRuntime) -> str:
    return (runtime.settings.api.public_url or "").rstrip("/")
