"""Deliveries: those of an endpoint or of a job, one with its log, one sent again, a range sent again."""

from fastapi import APIRouter, Request, Response

from api.http.admission import Call, admit
from api.http.idempotency import idempotency_key, replayed
from api.http.ids import id_of
from api.http.json_response import json_response
from api.http.operations import Endpoint, Returns, operation
from api.webhooks.endpoint_routes import endpoint_id_of
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
from core.db.session import reading
from core.domain.ids import DELIVERY, RECOVERY, DeliveryId, RecoveryId, show
from core.jobs.queries import why_missing
from core.webhooks.deliveries import queries
from core.webhooks.deliveries.recover import get_recovery, start_recovery
from core.webhooks.deliveries.redeliver import redeliver
from core.webhooks.endpoints.queries import endpoint_row

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=Endpoint)


def _delivery_id_of(request: Request) -> DeliveryId:
    return DeliveryId(id_of(DELIVERY, request.path_params["delivery_id"]))


@router.get(
    "/webhook_endpoints/{endpoint_id}/deliveries",
    **operation(
        "webhook_endpoints_deliveries",
        "List an endpoint's deliveries",
        query=DeliveryListQuery,
        returns={200: Returns(DeliveryListView, "A page of deliveries.")},
        errors=[404],
    ),
)
async def list_of_endpoint(request: Request) -> Response:
    """Returns the endpoint's deliveries, newest first, a page at a time."""
    call = await admit(request)
    endpoint_id, query = endpoint_id_of(request), call.query(DeliveryListQuery)
    before = query.before(DELIVERY, DeliveryId)
    async with reading(call.runtime.database, call.tenant_id) as session:
        await endpoint_row(session, call.tenant_id, endpoint_id)
        page = await queries.list_deliveries(
            session, call.tenant_id, query.filter(endpoint_id=endpoint_id), before=before, limit=query.limit
        )
    return json_response(delivery_list(page))


@router.get(
    "/jobs/{job_id}/deliveries",
    **operation(
        "jobs_deliveries",
        "List a job's deliveries",
        query=DeliveryListQuery,
        returns={200: Returns(DeliveryListView, "A page of deliveries.")},
        errors=[404, 410],
    ),
)
async def list_of_job(request: Request) -> Response:
    """Returns the deliveries about the job, to its own URL and to endpoints, newest first, a page at a time."""
    call = await admit(request)
    job_id, query = call.job_id, call.query(DeliveryListQuery)
    before = query.before(DELIVERY, DeliveryId)
    async with reading(call.runtime.database, call.tenant_id) as session:
        page = await queries.list_deliveries(
            session, call.tenant_id, query.filter(job_id=job_id), before=before, limit=query.limit
        )
        if not page.items and not await queries.job_exists(session, call.tenant_id, job_id):
            raise await why_missing(session, call.tenant_id, job_id)
    return json_response(delivery_list(page))


@router.get(
    "/webhook_deliveries/{delivery_id}",
    **operation(
        "webhook_deliveries_get",
        "Get a delivery",
        returns={200: Returns(DeliveryDetailView, "The delivery.")},
        errors=[404],
    ),
)
async def get(request: Request) -> Response:
    """Returns the delivery, its payload, and how each attempt went."""
    call = await admit(request)
    return await _delivery_response(call, _delivery_id_of(request))


@router.post(
    "/webhook_deliveries/{delivery_id}/redeliver",
    **operation(
        "webhook_deliveries_redeliver",
        "Send a delivery again",
        returns={202: Returns(DeliveryDetailView, "The delivery is to be sent.")},
        errors=[404, 409],
    ),
)
async def send_again(request: Request) -> Response:
    """Sends it once more, now, under the same `webhook-id`; if that fails, its schedule continues."""
    call = await admit(request)
    delivery_id, runtime = _delivery_id_of(request), call.runtime
    await redeliver(runtime.database, runtime.jobs.enqueuer, runtime.clock, call.tenant_id, delivery_id)
    return await _delivery_response(call, delivery_id, status=202)


@router.post(
    "/webhook_endpoints/{endpoint_id}/recover",
    **operation(
        "webhook_endpoints_recover",
        "Send a range of deliveries again",
        body=RecoverWebhooks,
        idempotent=True,
        returns={202: Returns(RecoveryView, "The recovery has started.", ("location", "idempotency-replayed"))},
        errors=[404, 409, 410],
    ),
)
async def recover(request: Request) -> Response:
    """Sends a range of the endpoint's deliveries again, in the background. Poll the `Location` URL for progress."""
    call = await admit(request)
    endpoint_id, body = endpoint_id_of(request), await call.body()
    wanted = RecoverWebhooks.model_validate(body)
    started = await start_recovery(
        call.runtime.database,
        call.tenant_id,
        endpoint_id,
        since=wanted.since,
        until=wanted.range_until(call.runtime.clock.now()),
        statuses=list(dict.fromkeys(wanted.status)),
        key=idempotency_key(call, f"webhook_endpoints_recover {endpoint_id}", body),
    )
    location = {"location": f"/v1/webhook_recoveries/{show(RECOVERY, started.value.id)}"}
    return json_response(recovery_view(started.value), 202, location | replayed(started))


@router.get(
    "/webhook_recoveries/{recovery_id}",
    **operation(
        "webhook_recoveries_get",
        "Get a recovery's progress",
        returns={200: Returns(RecoveryView, "The recovery.")},
        errors=[404],
    ),
)
async def get_progress(request: Request) -> Response:
    """Returns how many of its deliveries have been queued again."""
    call = await admit(request)
    recovery_id = RecoveryId(id_of(RECOVERY, request.path_params["recovery_id"]))
    return json_response(recovery_view(await get_recovery(call.runtime.database, call.tenant_id, recovery_id)))


async def _delivery_response(call: Call, delivery_id: DeliveryId, *, status: int = 200) -> Response:
    async with reading(call.runtime.database, call.tenant_id) as session:
        found = await queries.delivery_detail(session, call.tenant_id, delivery_id)
    return json_response(delivery_view(found), status)
