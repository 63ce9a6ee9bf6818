"""Stop 1 of 9 · from the client · to core/jobs/submit.py

`/v1/jobs`: submit a job, read it, list them, cancel, retry, delete. Every read is from PostgreSQL.
"""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Request, Response

from api.http.admission import Call, admit
from api.http.errors import is_expected
from api.http.idempotency import check_key, fingerprint
from api.http.json_response import json_response
from api.http.operations import Endpoint, Returns, operation
from api.http.paging import page_view
from api.http.waiting import PREFER, WaitQuery, wait_of_prefer, while_connected
from api.jobs.drafts import read_draft
from api.jobs.schemas.job import JobListView, JobView, etag, job_view, summary_view, summary_with_output
from api.jobs.schemas.listing import ListQuery
from api.jobs.schemas.submit import SubmitJob
from core.db.session import reading
from core.domain.errors import Conflict
from core.domain.ids import JOB, JobId, show_job
from core.domain.job_state import EDGES, TERMINAL, Edge
from core.jobs.cancel import cancel_jobs
from core.jobs.delete import delete_job
from core.jobs.queries import list_jobs, list_outputs, why_missing
from core.jobs.records import JobRecord, JobSummary
from core.jobs.retry import retry_jobs
from core.jobs.submit import Order, submit_job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Endpoint)

_POLL_AGAIN: Final = "1"
_IF_NONE_MATCH: Final = (
    "If-None-Match",
    "The `ETag` of an earlier response; 304 if the job has not changed since.",
    'W/"3"',
)
_SUBMITTED: Final = ("location", "etag", "idempotency-replayed", "preference-applied")


@router.post(
    "",
    **operation(
        "jobs_create",
        "Submit a job",
        body=SubmitJob,
        idempotent=True,
        headers=[PREFER],
        returns={
            202: Returns(JobView, "The job is stored, and will be run.", (*_SUBMITTED, "retry-after")),
            200: Returns(JobView, "The job is final, within `Prefer: wait=n` or by an earlier request.", _SUBMITTED),
        },
        # The job of an earlier request may be deleted or unreadable.
        errors=[410, 500],
    ),
)
async def submit(request: Request) -> Response:
    """Returns the job as soon as it is stored; with `Prefer: wait=n` when it is final, or after at most n seconds."""
    call = await admit(request)
    wait = wait_of_prefer(call.header("prefer"), call.runtime.settings.api.max_wait_seconds)
    key, body = check_key(call.header("idempotency-key")), await call.body()
    order = Order(read_draft(call.runtime, body), key, None if key is None else fingerprint(body))
    submission = await submit_job(call.runtime.jobs, call.tenant_id, order, request_id=call.request_id)
    job = submission.job
    headers = {"location": f"/v1/jobs/{show_job(job.id)}"}
    if submission.replayed:
        headers["idempotency-replayed"] = "true"
    if wait is not None:
        headers["preference-applied"] = f"wait={wait:g}"
        job = await _awaited(call, job, wait)
    return _job_response(call, job, status=200 if job.state in TERMINAL else 202, headers=headers)


@router.get(
    "/{job_id}",
    **operation(
        "jobs_get",
        "Get a job",
        query=WaitQuery,
        headers=[_IF_NONE_MATCH],
        returns={
            200: Returns(JobView, "The job.", ("etag", "retry-after")),
            304: Returns(None, "The job has not changed since the response with this `ETag`.", ("etag",)),
        },
        errors=[404, 410, 500],
    ),
)
async def get(request: Request) -> Response:
    """Returns the job; with `?wait=n` when it is final, or after at most n seconds."""
    call = await admit(request)
    job_id = call.job_id
    wait = call.query(WaitQuery).seconds(call.runtime.settings.api.max_wait_seconds) if call.has_query else 0.0
    if wait:
        with call.waiting():
            job = await while_connected(request.receive, _find(call, job_id, wait))
            await call.check_key()
    else:
        job = await _find(call, job_id)
    known = call.header("if-none-match")
    if known is not None and etag(job) in (each.strip() for each in known.split(",")):
        return Response(status_code=304, headers={"etag": etag(job)})
    return _job_response(call, job)


@router.get(
    "",
    **operation("jobs_list", "List jobs", query=ListQuery, returns={200: Returns(JobListView, "A page of jobs.")}),
)
async def list_(request: Request) -> Response:
    """Returns the caller's jobs, newest first, a page at a time; `include=output` adds the outputs."""
    call = await admit(request)
    query = call.query(ListQuery)
    before = query.before(JOB, JobId)
    async with reading(call.runtime.database, call.tenant_id) as session:
        page = await list_jobs(session, call.tenant_id, query.filter(), before=before, limit=query.limit)
        if "output" not in query.include:
            return json_response(page_view(page, lambda job: summary_view(job, call.base_url), _cursor_of))
        outputs = await list_outputs(session, call.runtime.sealer, call.tenant_id, [job.id for job in page.items])
    return json_response(
        page_view(page, lambda job: summary_with_output(job, outputs.get(job.id), call.base_url), _cursor_of)
    )


@router.post(
    "/{job_id}/cancel",
    **operation(
        "jobs_cancel",
        "Cancel a job",
        returns={200: Returns(JobView, "The job, cancelled, or as it had ended before.", ("etag",))},
        errors=[404, 410, 500],
    ),
)
async def cancel(request: Request) -> Response:
    """Cancels a job; a final one stays as it is. Once cancelled, a job never becomes succeeded."""
    call = await admit(request)
    job_id = call.job_id
    await cancel_jobs(call.runtime.jobs, call.tenant_id, [job_id])
    return _job_response(call, await _find(call, job_id))


@router.post(
    "/{job_id}/retry",
    **operation(
        "jobs_retry",
        "Retry a job",
        returns={202: Returns(JobView, "The job is queued again.", ("etag", "retry-after"))},
        errors=[404, 409, 410, 500],
    ),
)
async def retry(request: Request) -> Response:
    """Queues a failed, cancelled or expired job again, under the same id, with its attempts unused."""
    call = await admit(request)
    job_id = call.job_id
    outcome = await retry_jobs(call.runtime.jobs, call.tenant_id, [job_id])
    state = outcome.states.get(job_id)
    if state is not None and state not in EDGES[Edge.RETRY].from_states:
        raise Conflict(f"The job is {state}; only a failed, cancelled or expired one can be retried.")
    return _job_response(call, await _find(call, job_id), status=202)


@router.delete(
    "/{job_id}",
    **operation("jobs_delete", "Delete a job", returns={204: Returns(None, "The job is deleted.")}, errors=[404, 410]),
)
async def delete(request: Request) -> Response:
    """Deletes the job with its input and output, cancelling it first; reading it returns 410 from then on."""
    call = await admit(request)
    job_id = call.job_id
    if not await delete_job(call.runtime.jobs, call.tenant_id, job_id):
        raise await _why_missing(call, job_id)
    return Response(status_code=204)


async def _awaited(call: Call, job: JobRecord, seconds: float) -> JobRecord:
    """The job after the wait. It is stored whatever happens now, so this raises nothing: at worst it is as it was."""
    try:
        with call.waiting():
            ended = await while_connected(
                call.request.receive, call.runtime.watch.until_ended(job.id, call.tenant_id, seconds)
            )
            return ended if ended is not None and await call.runtime.authenticator.still_good(call.caller) else job
    except Exception as error:
        if not is_expected(error):
            raise
        return job


async def _find(call: Call, job_id: JobId, wait: float = 0.0) -> JobRecord:
    job = await call.runtime.watch.until_ended(job_id, call.tenant_id, wait)
    if job is None:
        raise await _why_missing(call, job_id)
    return job


async def _why_missing(call: Call, job_id: JobId) -> Exception:
    async with reading(call.runtime.database, call.tenant_id) as session:
        return await why_missing(session, call.tenant_id, job_id)


def _job_response(
    call: Call, job: JobRecord, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    sent = {"etag": etag(job), **(headers or {})}
    if job.state not in TERMINAL:
        sent["retry-after"] = _POLL_AGAIN
    return json_response(job_view(job, call.base_url), status, sent)


def _cursor_of(job: JobSummary) -> str:
    return show_job(job.id)
