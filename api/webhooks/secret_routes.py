"""`/v1/webhook_secret`: what signs the deliveries to the URLs that jobs name themselves."""

from fastapi import APIRouter, Request, Response

from api.http.admission import admit
from api.http.json_response import json_response
from api.http.operations import Endpoint, Returns, operation
from api.webhooks.schemas.secret import WebhookSecretView
from core.access.tenants import webhook_secret

router = APIRouter(prefix="/v1/webhook_secret", tags=["webhooks"], route_class=Endpoint)


@router.get(
    "",
    **operation(
        "webhook_secret_get",
        "Get the tenant's webhook secret",
        returns={200: Returns(WebhookSecretView, "The secret.")},
    ),
)
async def get(request: Request) -> Response:
    """Returns the secret that signs the deliveries to the URLs that jobs name themselves (Standard Webhooks 1.0)."""
    call = await admit(request)
    secret = await webhook_secret(call.runtime.database, call.runtime.sealer, call.tenant_id)
    return json_response({"object": "webhook_secret", "secret": secret})
