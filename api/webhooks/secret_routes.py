"""`/v1/webhook_secret`: what signs the deliveries to the URLs that jobs name themselves."""

from fastapi import APIRouter, Response

from api.http.deps import CallerDep, RuntimeDep
from api.http.json_response import json_response
from api.http.openapi import answers
from api.openai.schemas import WebhookSecretView
from core.access.tenants import webhook_secret

router = APIRouter(prefix="/v1/webhook_secret", tags=["webhooks"])


@router.get("", responses=answers(WebhookSecretView, 200))
async def get(runtime: RuntimeDep, caller: CallerDep) -> Response:
    """The secret that a receiver verifies with (Standard Webhooks 1.0)."""
    secret = await webhook_secret(runtime.database, runtime.sealer, caller.tenant_id)
    return json_response({"object": "webhook_secret", "secret": secret})
