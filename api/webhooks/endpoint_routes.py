"""`/v1/webhook_endpoints`: register, read, change, test and delete endpoints, in the shape of OpenAI's own routes.

`client.webhooks` of the openai SDK works here unmodified; enable, disable and some fields are inferd's.
"""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, Response

from api.http.admission import Call, admit
from api.http.idempotency import idempotency_key, replayed
from api.http.ids import id_of
from api.http.json_response import json_response
from api.http.operations import Endpoint, Returns, operation
from api.http.paging import whole
from api.webhooks.schemas.endpoints import (
    CreateWebhookEndpoint,
    DeletedEndpointView,
    EndpointListQuery,
    EndpointListView,
    EndpointTestView,
    EventTypeListView,
    RevealedEndpointView,
    RotateWebhookSecret,
    TestWebhookEndpoint,
    UpdateWebhookEndpoint,
    WebhookEndpointView,
    endpoint_list,
    endpoint_view,
    revealed_view,
)
from core.domain.events import EVENT_TYPES
from core.domain.ids import ENDPOINT, EndpointId, show
from core.webhooks.egress.url_policy import check_url
from core.webhooks.endpoints.create import create_endpoint
from core.webhooks.endpoints.read import get_endpoint, list_endpoints
from core.webhooks.endpoints.records import EndpointChanges
from core.webhooks.endpoints.rotate_secret import rotate_secret
from core.webhooks.endpoints.sample import QUEUE_SECONDS, send_sample
from core.webhooks.endpoints.update import delete_endpoint, update_endpoint

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=Endpoint)

_ONE: Final = "/webhook_endpoints/{endpoint_id}"


def endpoint_id_of(request: Request) -> EndpointId:
    """The id in the path. Raises NotFound for what can't be one."""
    return EndpointId(id_of(ENDPOINT, request.path_params["endpoint_id"]))


@router.post(
    "/webhook_endpoints",
    **operation(
        "webhook_endpoints_create",
        "Register a webhook endpoint",
        body=CreateWebhookEndpoint,
        idempotent=True,
        returns={200: Returns(RevealedEndpointView, "The endpoint, with its secret.", ("idempotency-replayed",))},
        errors=[409, 410],
    ),
)
async def create(request: Request) -> Response:
    """Registers an endpoint. Its `signing_secret` is in this response and in no later one."""
    call = await admit(request)
    body = await call.body()
    wanted = CreateWebhookEndpoint.model_validate(body)
    check_url(wanted.url, call.runtime.settings.webhook, "url")
    made = await create_endpoint(
        call.runtime.database,
        call.runtime.sealer,
        call.tenant_id,
        wanted.draft(),
        signature=wanted.signature,
        enabled=wanted.enabled,
        key=idempotency_key(call, "webhook_endpoints_create", body),
    )
    return json_response(revealed_view(made.value), headers=replayed(made))


@router.get(
    "/webhook_endpoints",
    **operation(
        "webhook_endpoints_list",
        "List webhook endpoints",
        query=EndpointListQuery,
        returns={200: Returns(EndpointListView, "A page of endpoints.")},
    ),
)
async def list_(request: Request) -> Response:
    """Returns the caller's endpoints, newest first, a page at a time."""
    call = await admit(request)
    query = call.query(EndpointListQuery)
    before = query.before(ENDPOINT, EndpointId)
    page = await list_endpoints(call.runtime.database, call.tenant_id, before=before, limit=query.limit)
    return json_response(endpoint_list(page))


@router.get(
    "/webhook_event_types",
    **operation(
        "webhook_event_types_list",
        "List event types",
        returns={200: Returns(EventTypeListView, "Every type of event.")},
    ),
)
async def list_event_types(request: Request) -> Response:
    """Returns the types of events that an endpoint can ask for."""
    await admit(request)
    return json_response(whole(EVENT_TYPES))


@router.get(
    _ONE,
    **operation(
        "webhook_endpoints_get",
        "Get a webhook endpoint",
        returns={200: Returns(WebhookEndpointView, "The endpoint.")},
        errors=[404],
    ),
)
async def get(request: Request) -> Response:
    """Returns the endpoint, and how its deliveries have been going."""
    call = await admit(request)
    found = await get_endpoint(call.runtime.database, call.tenant_id, endpoint_id_of(request))
    return json_response(endpoint_view(found))


@router.post(
    _ONE,
    **operation(
        "webhook_endpoints_update",
        "Change a webhook endpoint",
        body=UpdateWebhookEndpoint,
        returns={200: Returns(WebhookEndpointView, "The endpoint as it is now.")},
        errors=[404],
    ),
)
async def update(request: Request) -> Response:
    """Changes the fields that are named. Deliveries that are still to be sent go to a new URL too."""
    call = await admit(request)
    endpoint_id = endpoint_id_of(request)
    wanted = UpdateWebhookEndpoint.model_validate(await call.body())
    if wanted.url is not None:
        check_url(wanted.url, call.runtime.settings.webhook, "url")
    return await _changed(call, endpoint_id, wanted.changes())


@router.post(
    f"{_ONE}/enable",
    **operation(
        "webhook_endpoints_enable",
        "Enable a webhook endpoint",
        returns={200: Returns(WebhookEndpointView, "The endpoint, enabled.")},
        errors=[404],
    ),
)
async def enable(request: Request) -> Response:
    """Sends events to it again. Those that were skipped meanwhile can be recovered."""
    call = await admit(request)
    return await _changed(call, endpoint_id_of(request), EndpointChanges(enabled=True))


@router.post(
    f"{_ONE}/disable",
    **operation(
        "webhook_endpoints_disable",
        "Disable a webhook endpoint",
        returns={200: Returns(WebhookEndpointView, "The endpoint, disabled.")},
        errors=[404],
    ),
)
async def disable(request: Request) -> Response:
    """Sends no more events to it. They are kept as `skipped` deliveries."""
    call = await admit(request)
    return await _changed(call, endpoint_id_of(request), EndpointChanges(enabled=False))


@router.delete(
    _ONE,
    **operation(
        "webhook_endpoints_delete",
        "Delete a webhook endpoint",
        returns={200: Returns(DeletedEndpointView, "The endpoint is deleted.")},
        errors=[404],
    ),
)
async def delete(request: Request) -> Response:
    """Deletes the endpoint, its deliveries and their log."""
    call = await admit(request)
    endpoint_id = endpoint_id_of(request)
    await delete_endpoint(call.runtime.database, call.tenant_id, endpoint_id)
    return json_response({"id": show(ENDPOINT, endpoint_id), "object": "webhook_endpoint.deleted", "deleted": True})


@router.post(
    f"{_ONE}/rotate_secret",
    **operation(
        "webhook_endpoints_rotate_secret",
        "Rotate the signing secret",
        body=RotateWebhookSecret,
        returns={200: Returns(RevealedEndpointView, "The endpoint, with its new secret.")},
        errors=[404, 409],
    ),
)
async def rotate(request: Request) -> Response:
    """Creates a new secret. The old one stops at once, or on request also signs for 24 hours."""
    call = await admit(request)
    endpoint_id = endpoint_id_of(request)
    wanted = RotateWebhookSecret.model_validate(await call.body())
    made = await rotate_secret(
        call.runtime.database,
        call.runtime.sealer,
        call.runtime.clock,
        call.tenant_id,
        endpoint_id,
        keep_old=wanted.keep_old_secret_active_for_24_hours,
        signature=wanted.signature,
    )
    return json_response(revealed_view(made))


@router.post(
    f"{_ONE}/test",
    **operation(
        "webhook_endpoints_test",
        "Send a test event",
        body=TestWebhookEndpoint,
        returns={200: Returns(EndpointTestView, "The receiver responded.")},
        errors=[404, 424],
    ),
)
async def send_test(request: Request) -> Response:
    """Sends a sample event once and returns the receiver's HTTP status, whatever it is; 424 when it did not respond."""
    call = await admit(request)
    endpoint_id = endpoint_id_of(request)
    wanted = TestWebhookEndpoint.model_validate(await call.body())
    status = await send_sample(
        call.runtime.database,
        call.runtime.jobs.enqueuer,
        call.tenant_id,
        endpoint_id,
        wanted.event_type,
        wait_seconds=call.runtime.settings.webhook.timeout_seconds + QUEUE_SECONDS,
    )
    return json_response(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": show(ENDPOINT, endpoint_id),
            "event_type": wanted.event_type,
            "status_code": status,
            "success": HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES,
        }
    )


async def _changed(call: Call, endpoint_id: EndpointId, changes: EndpointChanges) -> Response:
    runtime = call.runtime
    changed = await update_endpoint(runtime.database, runtime.clock, call.tenant_id, endpoint_id, changes)
    return json_response(endpoint_view(changed))
