"""The `webhooks` of the OpenAPI document, from core/domain/events.py."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from api.http.operations import REF
from core.domain.events import EVENT_TYPES, EVENTS, BatchEvent, EventType, JobEvent, WebhookEvent, example
from core.webhooks.egress.signing import HEADERS

_HEADER_EXAMPLES: Final = {
    "webhook-id": "evt_019e5f0a4f8870008000000000000002",
    "webhook-timestamp": "1795253400",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}


def webhook_documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """The document's `webhooks`, and the schemas that they refer to. Called by api/openapi.py."""
    models = (JobEvent, BatchEvent, WebhookEvent)
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    return {event_type: {"post": _operation(event_type)} for event_type in EVENT_TYPES}, schemas["$defs"]


def _operation(event_type: EventType) -> dict[str, Any]:
    reference = {"$ref": REF.format(model=EVENTS[event_type].shape.__name__)}
    body = {"schema": reference, "example": example(event_type)}
    response = "Delivered. After any other response the delivery is tried again; 410 disables the endpoint."
    return {
        "summary": EVENTS[event_type].summary,
        "operationId": event_type.replace(".", "_"),
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": text,
                "schema": {"type": "string"},
                "example": _HEADER_EXAMPLES[name],
            }
            for name, text in HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {"2XX": {"description": response}},
    }
