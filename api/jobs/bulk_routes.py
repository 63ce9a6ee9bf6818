"""`/v1/jobs/bulk`, `/v1/jobs/cancel` and `/v1/jobs/retry`: the same as for one job, for many."""

import structlog
from fastapi import APIRouter, Response
from pydantic import JsonValue

from api.http.deps import BodyDep, BulkBodyDep, CallerDep, RequestIdDep, RuntimeDep
from api.http.errors import as_app_error, error_object
from api.http.json_response import json_response
from api.http.openapi import answers, body_of
from api.jobs.drafts import check_key, fingerprint, read_draft
from api.jobs.schemas.bulk import BulkChange, BulkLineView, BulkSubmit, BulkSubmitView, BulkView
from core.domain.errors import AppError, Internal, InvalidParameter
from core.domain.ids import show_job
from core.jobs.bulk import BulkOutcome, cancel_matching, retry_matching
from core.jobs.submit import Accepted, Order, submit_jobs
from core.jobs.turns import Turns
from core.runtime import ApiRuntime

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
log = structlog.get_logger(__name__)


@router.post("/bulk", responses=answers(BulkSubmitView, 200), openapi_extra=body_of(BulkSubmit))
async def submit(runtime: RuntimeDep, caller: CallerDep, body: BulkBodyDep, request_id: RequestIdDep) -> Response:
    """Accepts up to 1,000 jobs. Each line is accepted or refused by itself; what is accepted is committed."""
    lines = []
    turns = Turns()
    for line in BulkSubmit.model_validate(body).jobs:
        lines.append(_read_line(runtime, line))
        await turns.give_way()
    orders = [line for line in lines if isinstance(line, Order)]
    outcomes = iter(await submit_jobs(runtime.jobs, caller.tenant_id, orders, request_id=request_id))
    data = [_line_view(index, next(outcomes) if isinstance(line, Order) else line) for index, line in enumerate(lines)]
    refused = sum(line["error"] is not None for line in data)
    return json_response({"object": "bulk_submit", "accepted": len(data) - refused, "refused": refused, "data": data})


@router.post("/cancel", responses=answers(BulkView, 200), openapi_extra=body_of(BulkChange))
async def cancel(runtime: RuntimeDep, caller: CallerDep, body: BodyDep) -> Response:
    """Cancels the jobs that match and have not ended."""
    wanted = BulkChange.model_validate(body)
    return _answer("bulk_cancel", await cancel_matching(runtime.jobs, caller.tenant_id, wanted.filter(), wanted.limit))


@router.post("/retry", responses=answers(BulkView, 200), openapi_extra=body_of(BulkChange))
async def retry(runtime: RuntimeDep, caller: CallerDep, body: BodyDep) -> Response:
    """Queues the failed, cancelled and expired jobs that match again."""
    wanted = BulkChange.model_validate(body)
    return _answer("bulk_retry", await retry_matching(runtime.jobs, caller.tenant_id, wanted.filter(), wanted.limit))


def _answer(kind: str, outcome: BulkOutcome) -> Response:
    return json_response({"object": kind, "changed": outcome.changed, "has_more": outcome.has_more})


def _read_line(runtime: ApiRuntime, line: dict[str, JsonValue]) -> Order | AppError:
    body = {name: value for name, value in line.items() if name != "idempotency_key"}
    key = line.get("idempotency_key")
    try:
        if key is None:
            return Order(read_draft(runtime, body))
        if not isinstance(key, str):
            return InvalidParameter("idempotency_key: must be a string.", param="idempotency_key")
        return Order(read_draft(runtime, body), check_key(key), fingerprint(body))
    except Exception as error:
        told = as_app_error(error)
        if isinstance(told, Internal):
            log.exception("bulk_line_unreadable")
        return told


def _line_view(index: int, outcome: Accepted | AppError) -> BulkLineView:
    match outcome:
        case Accepted(job_id=job_id, state=state, replayed=replayed):
            return {"index": index, "id": show_job(job_id), "status": state.value, "replayed": replayed, "error": None}
        case AppError() as error:
            return {"index": index, "id": None, "status": None, "replayed": False, "error": error_object(error)}
