"""Deliveries: those of an endpoint or of a job, one with its log, one sent again, a range sent again."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.http.deps import BodyDep, CallerDep, JobIdDep, RuntimeDep
from api.http.json_response import json_response
from api.http.openapi import answers, body_of
from api.webhooks.endpoint_routes import EndpointIdDep
from api.webhooks.schemas.deliveries import (
    DeliveryDetailView,
    DeliveryListQuery,
    DeliveryListView,
    RecoverWebhooks,
    RecoveryView,
    delivery_list,
    delivery_view,
    recovery_view,
)
from core.access.authenticate import Caller
from core.db.session import reading
from core.domain.errors import NotFound
from core.domain.ids import (
    DELIVERY,
    RECOVERY,
    DeliveryId,
    InvalidId,
    RecoveryId,
    parse,
    show,
)
from core.jobs.queries import why_missing
from core.runtime import ApiRuntime
from core.webhooks.deliveries import queries
from core.webhooks.deliveries.recover import get_recovery, start_recovery
from core.webhooks.deliveries.redeliver import redeliver
from core.webhooks.endpoints.queries import endpoint_row

router = APIRouter(prefix="/v1", tags=["webhooks"])


def _delivery_id(delivery_id: str) -> DeliveryId:
    try:
        return DeliveryId(parse(DELIVERY, delivery_id))
    except InvalidId:
        raise NotFound(
            f"There is no webhook delivery {delivery_id[:64]!r}; an id is dlv_ and 32 hexadecimal digits."
        ) from None


def _recovery_id(recovery_id: str) -> RecoveryId:
    try:
        return RecoveryId(parse(RECOVERY, recovery_id))
    except InvalidId:
        raise NotFound(
            f"There is no webhook recovery {recovery_id[:64]!r}; an id is rcv_ and 32 hexadecimal digits."
        ) from None


DeliveryIdDep = Annotated[DeliveryId, Depends(_delivery_id)]
RecoveryIdDep = Annotated[RecoveryId, Depends(_recovery_id)]


@router.get("/webhook_endpoints/{endpoint_id}/deliveries", responses=answers(DeliveryListView, 200))
async def list_of_endpoint(
    runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep, query: Annotated[DeliveryListQuery, Query()]
) -> Response:
    """The endpoint's deliveries, newest first, a page at a time."""
    before = query.before_id()
    async with reading(runtime.database, caller.tenant_id) as session:
        await endpoint_row(session, caller.tenant_id, endpoint_id)
        page = await queries.list_deliveries(
            session, caller.tenant_id, query.filter(endpoint_id=endpoint_id), before=before, limit=query.limit
        )
    return json_response(delivery_list(page))


@router.get("/jobs/{job_id}/deliveries", responses=answers(DeliveryListView, 200))
async def list_of_job(
    runtime: RuntimeDep, caller: CallerDep, job_id: JobIdDep, query: Annotated[DeliveryListQuery, Query()]
) -> Response:
    """The deliveries of the job's events, newest first, a page at a time: to its own URL and to endpoints."""
    before = query.before_id()
    async with reading(runtime.database, caller.tenant_id) as session:
        page = await queries.list_deliveries(
            session, caller.tenant_id, query.filter(job_id=job_id), before=before, limit=query.limit
        )
        if not page.items and not await queries.job_exists(session, caller.tenant_id, job_id):
            raise await why_missing(session, caller.tenant_id, job_id)
    return json_response(delivery_list(page))


@router.get("/webhook_deliveries/{delivery_id}", responses=answers(DeliveryDetailView, 200))
async def get(runtime: RuntimeDep, caller: CallerDep, delivery_id: DeliveryIdDep) -> Response:
    """The delivery, what it says, and how each attempt went."""
    return await _answer(runtime, caller, delivery_id)


@router.post("/webhook_deliveries/{delivery_id}/redeliver", status_code=202, responses=answers(DeliveryDetailView, 202))
async def send_again(runtime: RuntimeDep, caller: CallerDep, delivery_id: DeliveryIdDep) -> Response:
    """Sends it once more, now, under the same `webhook-id`; when that fails, its schedule goes on."""
    await redeliver(runtime.database, runtime.jobs.enqueuer, runtime.clock, caller.tenant_id, delivery_id)
    return await _answer(runtime, caller, delivery_id, status=202)


@router.post(
    "/webhook_endpoints/{endpoint_id}/recover",
    status_code=202,
    responses=answers(RecoveryView, 202),
    openapi_extra=body_of(RecoverWebhooks),
)
async def recover(runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep, body: BodyDep) -> Response:
    """Sends a range of the endpoint's deliveries again, in the background. `Location` is the URL of its progress."""
    wanted = RecoverWebhooks.model_validate(body)
    recovery = await start_recovery(
        runtime.database,
        caller.tenant_id,
        endpoint_id,
        since=wanted.since,
        until=wanted.range_until(runtime.clock.now()),
        statuses=list(dict.fromkeys(wanted.status)),
    )
    return json_response(
        recovery_view(recovery), 202, {"location": f"/v1/webhook_recoveries/{show(RECOVERY, recovery.id)}"}
    )


@router.get("/webhook_recoveries/{recovery_id}", responses=answers(RecoveryView, 200))
async def get_progress(runtime: RuntimeDep, caller: CallerDep, recovery_id: RecoveryIdDep) -> Response:
    """How far the recovery is."""
    return json_response(recovery_view(await get_recovery(runtime.database, caller.tenant_id, recovery_id)))


async def _answer(runtime: ApiRuntime, caller: Caller, delivery_id: DeliveryId, *, status: int = 200) -> Response:
    async with reading(runtime.database, caller.tenant_id) as session:
        found = await queries.delivery_detail(session, caller.tenant_id, delivery_id)
    return json_response(delivery_view(found), status)
