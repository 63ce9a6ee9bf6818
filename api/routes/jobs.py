"""Stop 1 of 9 · from the client · to core/jobs/submit.py

`/v1/jobs`: submit a job, read it, list them, cancel, retry, delete. Every read is from PostgreSQL.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import JsonValue

from api.deps import BodyDep, CallerDep, JobIdDep, RequestIdDep, RuntimeDep
from api.json_response import json_response
from api.openapi import answers, body_of
from api.schemas.job import JobListView, JobView, etag, job_view, summary_view
from api.schemas.listing import ListQuery, metadata_pairs
from api.schemas.submit import SubmitJob
from api.waiting import PreferDep, WaitDep, wait_of_prefer, wait_of_query
from core.access.authenticate import Caller
from core.db.session import reading
from core.domain.errors import Conflict, InvalidParameter, InvalidRequest
from core.domain.ids import JobId, show_job
from core.domain.job_state import EDGES, TERMINAL, Edge
from core.jobs.cancel import cancel_jobs
from core.jobs.delete import delete_job
from core.jobs.queries import list_jobs, why_missing
from core.jobs.records import JobRecord
from core.jobs.retry import retry_jobs
from core.jobs.submit import Draft, submit_job
from core.runtime import ApiRuntime
from core.webhooks.url_policy import check_url

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_POLL_AGAIN: Final = "1"


@router.post("", status_code=202, responses=answers(JobView, 202, 200), openapi_extra=body_of(SubmitJob))
async def submit(
    runtime: RuntimeDep,
    caller: CallerDep,
    body: BodyDep,
    request_id: RequestIdDep,
    prefer: PreferDep = None,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Accepts a job: 202 once it is committed, or 200 when it ended within `Prefer: wait=n`."""
    wait = wait_of_prefer(prefer, runtime.settings.api.max_wait_seconds)
    draft = _read_draft(runtime, body)
    submission = await submit_job(
        runtime.jobs,
        caller.tenant_id,
        draft,
        request_id=request_id,
        idempotency_key=_check_key(idempotency_key),
        fingerprint=None if idempotency_key is None else _fingerprint(body),
    )
    job = submission.job
    headers = {"location": f"/v1/jobs/{show_job(job.id)}"}
    if submission.replayed:
        headers["idempotency-replayed"] = "true"
    if wait is not None:
        headers["preference-applied"] = f"wait={wait:g}"
        job = await runtime.watch.until_ended(job.id, caller.tenant_id, wait) or job
    return _answer(runtime, job, status=200 if job.state in TERMINAL else 202, headers=headers)


@router.get("/{job_id}", responses=answers(JobView, 200))
async def get(
    runtime: RuntimeDep,
    caller: CallerDep,
    job_id: JobIdDep,
    wait: WaitDep = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The job as it stands, or as it ended within `?wait=n`; 304 when `If-None-Match` still holds."""
    seconds = wait_of_query(wait, runtime.settings.api.max_wait_seconds)
    job = await _find(runtime, caller, job_id, seconds or 0.0)
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
        jobs = await list_jobs(
            session, caller.tenant_id, query.filter(metadata), before=query.before_id(), limit=query.limit + 1
        )
    page = jobs[: query.limit]
    has_more = len(jobs) > query.limit
    return json_response(
        {
            "object": "list",
            "data": [summary_view(job, _base_url(runtime)) for job in page],
            "has_more": has_more,
            "next_cursor": show_job(page[-1].id) if has_more else None,
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


def _read_draft(runtime: ApiRuntime, body: dict[str, JsonValue]) -> Draft:
    submitted = SubmitJob.model_validate(body)
    if submitted.webhook is not None:
        check_url(submitted.webhook.url, runtime.settings.webhook, "webhook.url")
    try:
        return submitted.draft(runtime.clock.now())
    except ValueError as error:
        raise InvalidParameter(f"{error}.", param="run_at") from None


def _check_key(key: str | None) -> str | None:
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key: must be 1 to 255 printable ASCII characters.", param="Idempotency-Key")
    return key


def _fingerprint(body: dict[str, JsonValue]) -> bytes:
    """The same for bodies that say the same, in whatever order of fields."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
