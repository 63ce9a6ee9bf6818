"""`/v1/webhook_endpoints`: register, read, change, test and delete endpoints, in the shape of OpenAI's own routes.

`client.webhooks` of the openai SDK works here unmodified; enable, disable and some fields are inferd's.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api.http.deps import BodyDep, CallerDep, RuntimeDep
from api.http.json_response import json_response
from api.http.openapi import answers, body_of
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
from core.domain.errors import NotFound
from core.domain.events import EVENT_TYPES
from core.domain.ids import ENDPOINT, EndpointId, InvalidId, parse, show
from core.webhooks.egress.url_policy import check_url
from core.webhooks.endpoints.create import create_endpoint
from core.webhooks.endpoints.read import get_endpoint, list_endpoints
from core.webhooks.endpoints.records import EndpointChanges
from core.webhooks.endpoints.rotate_secret import rotate_secret
from core.webhooks.endpoints.sample import QUEUE_SECONDS, send_sample
from core.webhooks.endpoints.update import delete_endpoint, update_endpoint

router = APIRouter(prefix="/v1", tags=["webhooks"])


def _endpoint_id(endpoint_id: str) -> EndpointId:
    try:
        return EndpointId(parse(ENDPOINT, endpoint_id))
    except InvalidId:
        raise NotFound(
            f"There is no webhook endpoint {endpoint_id[:64]!r}; an id is we_ and 32 hexadecimal digits."
        ) from None


EndpointIdDep = Annotated[EndpointId, Depends(_endpoint_id)]
_ONE = "/webhook_endpoints/{endpoint_id}"


@router.post(
    "/webhook_endpoints", responses=answers(RevealedEndpointView, 200), openapi_extra=body_of(CreateWebhookEndpoint)
)
async def create(runtime: RuntimeDep, caller: CallerDep, body: BodyDep) -> Response:
    """Registers an endpoint. Its `signing_secret` is in this answer and in no other."""
    wanted = CreateWebhookEndpoint.model_validate(body)
    check_url(wanted.url, runtime.settings.webhook, "url")
    made = await create_endpoint(
        runtime.database,
        runtime.sealer,
        caller.tenant_id,
        wanted.draft(),
        signature=wanted.signature,
        enabled=wanted.enabled,
    )
    return json_response(revealed_view(made))


@router.get("/webhook_endpoints", responses=answers(EndpointListView, 200))
async def list_(runtime: RuntimeDep, caller: CallerDep, query: Annotated[EndpointListQuery, Query()]) -> Response:
    """The caller's endpoints, newest first."""
    page = await list_endpoints(runtime.database, caller.tenant_id, before=query.before_id(), limit=query.limit)
    return json_response(endpoint_list(page))


@router.get("/webhook_event_types", responses=answers(EventTypeListView, 200))
async def list_event_types(_caller: CallerDep) -> Response:
    """The types of events that an endpoint can ask for."""
    return json_response({"object": "list", "data": list(EVENT_TYPES)})


@router.get(_ONE, responses=answers(WebhookEndpointView, 200))
async def get(runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep) -> Response:
    """The endpoint, and how its deliveries have been going."""
    return json_response(endpoint_view(await get_endpoint(runtime.database, caller.tenant_id, endpoint_id)))


@router.post(_ONE, responses=answers(WebhookEndpointView, 200), openapi_extra=body_of(UpdateWebhookEndpoint))
async def update(runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep, body: BodyDep) -> Response:
    """Changes the fields that are named. Deliveries that wait go to a new URL too."""
    wanted = UpdateWebhookEndpoint.model_validate(body)
    if wanted.url is not None:
        check_url(wanted.url, runtime.settings.webhook, "url")
    changed = await update_endpoint(runtime.database, runtime.clock, caller.tenant_id, endpoint_id, wanted.changes())
    return json_response(endpoint_view(changed))


@router.post(f"{_ONE}/enable", responses=answers(WebhookEndpointView, 200))
async def enable(runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep) -> Response:
    """Sends again. What was skipped meanwhile waits for a recovery."""
    changes = EndpointChanges(enabled=True)
    changed = await update_endpoint(runtime.database, runtime.clock, caller.tenant_id, endpoint_id, changes)
    return json_response(endpoint_view(changed))


@router.post(f"{_ONE}/disable", responses=answers(WebhookEndpointView, 200))
async def disable(runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep) -> Response:
    """Sends nothing more. What would be sent is kept as `skipped`."""
    changes = EndpointChanges(enabled=False)
    changed = await update_endpoint(runtime.database, runtime.clock, caller.tenant_id, endpoint_id, changes)
    return json_response(endpoint_view(changed))


@router.delete(_ONE, responses=answers(DeletedEndpointView, 200))
async def delete(runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep) -> Response:
    """Deletes the endpoint, its deliveries and their log."""
    await delete_endpoint(runtime.database, caller.tenant_id, endpoint_id)
    return json_response({"id": show(ENDPOINT, endpoint_id), "object": "webhook_endpoint.deleted", "deleted": True})


@router.post(
    f"{_ONE}/rotate_secret", responses=answers(RevealedEndpointView, 200), openapi_extra=body_of(RotateWebhookSecret)
)
async def rotate(runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep, body: BodyDep) -> Response:
    """Makes a new secret. For 24 hours both sign, if that is asked for; otherwise the old one stops at once."""
    wanted = RotateWebhookSecret.model_validate(body)
    made = await rotate_secret(
        runtime.database,
        runtime.sealer,
        runtime.clock,
        caller.tenant_id,
        endpoint_id,
        keep_old=wanted.keep_old_secret_active_for_24_hours,
        signature=wanted.signature,
    )
    return json_response(revealed_view(made))


@router.post(f"{_ONE}/test", responses=answers(EndpointTestView, 200), openapi_extra=body_of(TestWebhookEndpoint))
async def send_test(runtime: RuntimeDep, caller: CallerDep, endpoint_id: EndpointIdDep, body: BodyDep) -> Response:
    """Sends a sample event, once, and answers what the receiver said; 424 when it said nothing."""
    wanted = TestWebhookEndpoint.model_validate(body)
    status = await send_sample(
        runtime.database,
        runtime.jobs.enqueuer,
        caller.tenant_id,
        endpoint_id,
        wanted.event_type,
        wait_seconds=runtime.settings.webhook.timeout_seconds + QUEUE_SECONDS,
    )
    return json_response(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": show(ENDPOINT, endpoint_id),
            "event_type": wanted.event_type,
            "status_code": status,
            "success": True,
        }
    )
