"""`/v1/jobs/bulk`, `/v1/jobs/cancel` and `/v1/jobs/retry`: the same as for one job, for many."""

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import JsonValue

from api.http.admission import admit
from api.http.errors import as_app_error, error_object
from api.http.idempotency import check_key, fingerprint
from api.http.json_response import json_response
from api.http.operations import Endpoint, Returns, operation
from api.jobs.drafts import read_draft
from api.jobs.schemas.bulk import BulkChange, BulkJob, BulkLineView, BulkSubmit, BulkSubmitView, BulkView
from core.domain.errors import AppError, Internal, InvalidParameter
from core.domain.ids import show_job
from core.jobs.bulk import BulkOutcome, cancel_matching, retry_matching
from core.jobs.long_work import LongWork
from core.jobs.submit import Accepted, Order, submit_jobs
from core.runtime import ApiRuntime

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Endpoint)
log = structlog.get_logger(__name__)


@router.post(
    "/bulk",
    **operation(
        "jobs_create_many",
        "Submit many jobs",
        body=BulkSubmit,
        parts=[BulkJob],
        idempotent=True,
        returns={200: Returns(BulkSubmitView, "The outcome of each job; what was accepted is stored.")},
    ),
)
async def submit(request: Request) -> Response:
    """Submits up to 1,000 jobs. Each is accepted or refused on its own.

    With the header `Idempotency-Key`, a job without an `idempotency_key` gets one from the header and its index.
    """
    call = await admit(request)
    key = check_key(call.header("idempotency-key"))
    lines = []
    work = LongWork()
    for index, line in enumerate(BulkSubmit.model_validate(await call.lines("jobs")).jobs):
        # No key of a caller's has a space.
        lines.append(_read_line(call.runtime, line, None if key is None else f"{key} {index}"))
        await work.give_way()
    orders = [line for line in lines if isinstance(line, Order)]
    outcomes = iter(await submit_jobs(call.runtime.jobs, call.tenant_id, orders, request_id=call.request_id))
    data = [_line_view(index, next(outcomes) if isinstance(line, Order) else line) for index, line in enumerate(lines)]
    refused = sum(line["error"] is not None for line in data)
    return json_response({"object": "bulk_submit", "accepted": len(data) - refused, "refused": refused, "data": data})


@router.post(
    "/cancel",
    **operation(
        "jobs_cancel_many",
        "Cancel many jobs",
        body=BulkChange,
        returns={200: Returns(BulkView, "How many jobs were cancelled.")},
    ),
)
async def cancel(request: Request) -> Response:
    """Cancels the jobs that match and are not final."""
    call = await admit(request)
    wanted = BulkChange.model_validate(await call.body())
    return _change_response(
        "bulk_cancel", await cancel_matching(call.runtime.jobs, call.tenant_id, wanted.filter(), wanted.limit)
    )


@router.post(
    "/retry",
    **operation(
        "jobs_retry_many",
        "Retry many jobs",
        body=BulkChange,
        returns={200: Returns(BulkView, "How many jobs were queued again.")},
    ),
)
async def retry(request: Request) -> Response:
    """Queues the failed, cancelled and expired jobs that match again."""
    call = await admit(request)
    wanted = BulkChange.model_validate(await call.body())
    return _change_response(
        "bulk_retry", await retry_matching(call.runtime.jobs, call.tenant_id, wanted.filter(), wanted.limit)
    )


def _change_response(kind: str, outcome: BulkOutcome) -> Response:
    return json_response({"object": kind, "changed": outcome.changed, "has_more": outcome.has_more})


def _read_line(runtime: ApiRuntime, line: dict[str, JsonValue], default_key: str | None) -> Order | AppError:
    body = {name: value for name, value in line.items() if name != "idempotency_key"}
    key = line.get("idempotency_key")
    try:
        if key is None:
            return Order(read_draft(runtime, body), default_key, None if default_key is None else fingerprint(body))
        if not isinstance(key, str):
            return InvalidParameter("idempotency_key: must be a string.", param="idempotency_key")
        return Order(read_draft(runtime, body), check_key(key), fingerprint(body))
    except Exception as error:
        refusal = as_app_error(error)
        if isinstance(refusal, Internal):
            log.exception("bulk_line_unreadable")
        return refusal


def _line_view(index: int, outcome: Accepted | AppError) -> BulkLineView:
    match outcome:
        case Accepted(job_id=job_id, state=state, replayed=replayed):
            return {"index": index, "id": show_job(job_id), "status": state.value, "replayed": replayed, "error": None}
        case AppError() as error:
            return {"index": index, "id": None, "status": None, "replayed": False, "error": error_object(error)}
