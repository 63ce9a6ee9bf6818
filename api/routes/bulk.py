"""`/v1/jobs/cancel` and `/v1/jobs/retry`: the same as for one job, for all that match a filter."""

from fastapi import APIRouter, Response

from api.deps import BodyDep, CallerDep, RuntimeDep
from api.json_response import json_response
from api.openapi import answers, body_of
from api.schemas.bulk import BulkChange, BulkView
from core.jobs.bulk import BulkOutcome, cancel_matching, retry_matching

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


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
