"""`/v1/jobs/bulk`, `/v1/jobs/cancel` and `/v1/jobs/retry`: the same as for one job, for many."""

from fastapi import APIRouter, Response
from pydantic import JsonValue, ValidationError

from api.deps import BodyDep, BulkBodyDep, CallerDep, RequestIdDep, RuntimeDep
from api.drafts import check_key, fingerprint, read_draft
from api.errors import error_object, invalid
from api.json_response import json_response
from api.openapi import answers, body_of
from api.schemas.bulk import BulkChange, BulkLineView, BulkSubmit, BulkSubmitView, BulkView
from core.domain.errors import AppError, InvalidParameter
from core.domain.ids import show_job
from core.jobs.bulk import BulkOutcome, cancel_matching, retry_matching
from core.jobs.submit import Order, Submission, submit_jobs
from core.runtime import ApiRuntime

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post("/bulk", responses=answers(BulkSubmitView, 200), openapi_extra=body_of(BulkSubmit))
async def submit(runtime: RuntimeDep, caller: CallerDep, body: BulkBodyDep, request_id: RequestIdDep) -> Response:
    """Accepts up to 1,000 jobs. Each line is accepted or refused by itself; what is accepted is committed."""
    lines = [_read_line(runtime, line) for line in BulkSubmit.model_validate(body).jobs]
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
            return InvalidParameter("idempotency_key: must be a text.", param="idempotency_key")
        return Order(read_draft(runtime, body), check_key(key), fingerprint(body))
    except ValidationError as error:
        return invalid(error.errors())
    except AppError as error:
        return error


def _line_view(index: int, outcome: Submission | AppError) -> BulkLineView:
    match outcome:
        case Submission(job=job, replayed=replayed):
            return {
                "index": index, "id": show_job(job.id), "status": job.state.value, "replayed": replayed, "error": None,
            }  # fmt: skip
        case AppError() as error:
            return {"index": index, "id": None, "status": None, "replayed": False, "error": error_object(error)}
