"""What the OpenAPI document says of the events that inferd sends: its `webhooks`, and their schemas."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from core.domain.events import JOB_EVENT_TYPES, RESPONSE_EVENT_TYPES
from core.webhooks.events import BATCH_EVENT_TYPES, DISABLED, EVENT_TYPES, PING, STEP_EVENT_TYPES

_REF: Final = "#/components/schemas/{model}"


class _Event(BaseModel):
    """Fields may be added; a receiver should not mind those that it does not know."""

    model_config = ConfigDict(extra="allow", frozen=True)


class EventUsage(_Event):
    input_tokens: int | None
    output_tokens: int | None


class EventError(_Event):
    code: str
    message: str


class JobEventData(_Event):
    """Thin: enough to decide, and where to read the rest."""

    id: str = Field(description="The job's.")
    job_id: str = Field(description="The same, by another name.")
    status: Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
    model: str
    sequence: int = Field(description="The job's version: of two events of a job, the larger one is the later.")
    result_url: str = Field(description="Where the job is read, with a key of the tenant.")
    usage: EventUsage | None = None
    error: EventError | None = None
    run_at: str | None = Field(default=None, description="Of job.retrying: not before this time.")
    result: dict[str, Any] | None = Field(
        default=None, description="Of a success, for an endpoint with `include_result`: the job's output."
    )
    result_omitted: Literal["too_large", "job_deleted"] | None = Field(
        default=None, description="Why `result` is not there."
    )
    test: Literal[True] | None = Field(default=None, description="A sample: there is no such job.")


class EndpointEventData(_Event):
    """About an endpoint."""

    id: str = Field(description="The endpoint's.")
    reason: Literal["gone", "failing"] | None = Field(default=None, description="Of webhook.disabled.")
    failures: int | None = Field(default=None, description="Of webhook.disabled: since the last success.")
    test: Literal[True] | None = None


class _Envelope(_Event):
    id: str = Field(description="evt_…, as in the header webhook-id: the same over all attempts and receivers.")
    object: Literal["event"]
    created_at: int = Field(description="Unix seconds.")
    timestamp: str = Field(description="The same moment as RFC 3339, in UTC.")


class JobEvent(_Envelope):
    """Something happened to a job."""

    type: Literal[
        "job.succeeded", "job.failed", "job.cancelled", "job.expired", "job.queued", "job.running", "job.retrying",
        "response.completed", "response.failed", "response.cancelled", "response.incomplete",
    ]  # fmt: skip
    data: JobEventData


class BatchEventData(_Event):
    """About a batch. There are none yet, so only a test sends it."""

    id: str = Field(description="The batch's.")
    test: Literal[True] | None = None


class BatchEvent(_Envelope):
    """A batch came to its end."""

    type: Literal["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
    data: BatchEventData


class WebhookEvent(_Envelope):
    """Something happened to an endpoint, or it is tested."""

    type: Literal["webhook.ping", "webhook.disabled"]
    data: EndpointEventData


_MODELS: Final[Mapping[str, type[_Envelope]]] = {
    **dict.fromkeys((*JOB_EVENT_TYPES, *STEP_EVENT_TYPES, *RESPONSE_EVENT_TYPES), JobEvent),
    **dict.fromkeys(BATCH_EVENT_TYPES, BatchEvent),
}
_SUMMARIES: Final = {
    "job.succeeded": "A job has its answer.",
    "job.failed": "A job ended without an answer; `data.error` says why.",
    "job.cancelled": "A job was cancelled.",
    "job.expired": "A job's deadline passed.",
    "job.queued": "A job was taken in, or is tried again by hand. Only for who asks for it.",
    "job.running": "A worker has begun an attempt. Only for who asks for it.",
    "job.retrying": "An attempt failed and another one follows. Only for who asks for it.",
    "response.completed": "job.succeeded, by OpenAI's name.",
    "response.incomplete": "job.succeeded, by OpenAI's name for an answer that was cut by its limit or a filter.",
    "response.failed": "job.failed or job.expired, by OpenAI's name.",
    "response.cancelled": "job.cancelled, by OpenAI's name.",
    **dict.fromkeys(BATCH_EVENT_TYPES, "The end of a batch. There are none yet: only a test sends it."),
    PING: "A test.",
    DISABLED: "Another endpoint of the tenant was disabled, because it failed for too long or said 410.",
}
_HEADERS: Final = {
    "webhook-id": "The event's id: drop what you have seen.",
    "webhook-timestamp": "When this attempt was sent, in Unix seconds: refuse what is older than five minutes.",
    "webhook-signature": "`v1,…` or `v1a,…` over `id.timestamp.body`; several, separated by spaces, during a rotation.",
}


def webhook_documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """The document's `webhooks`, and the schemas that they refer to. Called by api/http/openapi.py."""
    models = (JobEvent, BatchEvent, WebhookEvent)
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    return {event_type: {"post": _operation(event_type)} for event_type in EVENT_TYPES}, schemas["$defs"]


def _operation(event_type: str) -> dict[str, Any]:
    reference = {"$ref": _REF.format(model=_MODELS.get(event_type, WebhookEvent).__name__)}
    return {
        "summary": _SUMMARIES[event_type],
        "operationId": event_type.replace(".", "_"),
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}},
        "responses": {"2XX": {"description": "Taken. Anything else is tried again; 410 disables the endpoint."}},
    }
