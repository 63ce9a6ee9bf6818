"""Events: their types, who may subscribe to which, and what they say. The one home of all of that.

The shapes below are the bodies of webhooks. PostgreSQL writes every body, in the transaction of what happened
(`inferd_event` and `inferd_job_event` of migration 0008), and tests/webhooks/test_events.py holds it to these shapes.
The OpenAPI document and docs/reference/webhooks.md are generated from them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from core.domain.ids import ENDPOINT, EVENT, JobId, show, show_job
from core.domain.job_state import JobState
from core.domain.transitions import cancel, expire

JobEndType = Literal["job.succeeded", "job.failed", "job.cancelled", "job.expired"]
# Sent only to subscribers that name them.
ProgressType = Literal["job.queued", "job.running", "job.retrying"]
# The ends of a job by OpenAI's names, for receivers that know those.
ResponseType = Literal["response.completed", "response.failed", "response.cancelled", "response.incomplete"]
# Accepted, so that an endpoint can name all that an OpenAI client knows. There are no batches yet.
BatchType = Literal["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
EndpointType = Literal["webhook.ping", "webhook.disabled"]

# What the `webhook.events` of a job may name, and what an endpoint may.
JobEventType = Literal[JobEndType, ProgressType]
EventType = Literal[JobEventType, ResponseType, BatchType, EndpointType]

JOB_EVENT_TYPES: Final[tuple[JobEndType, ...]] = get_args(JobEndType)
PROGRESS_EVENT_TYPES: Final[tuple[ProgressType, ...]] = get_args(ProgressType)
RESPONSE_EVENT_TYPES: Final[tuple[ResponseType, ...]] = get_args(ResponseType)
BATCH_EVENT_TYPES: Final[tuple[BatchType, ...]] = get_args(BatchType)
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
DISABLED: Final = "webhook.disabled"

_CUT_SHORT: Final = frozenset({"length", "content_filter"})


def _one_of(values: Iterable[str]) -> WithJsonSchema:
    """The values of today: the document has no closed enum, because more may be added."""
    return WithJsonSchema({"type": "string", "x-extensible-enum": list(values)})


_JOB_EVENTS: Final = (*JOB_EVENT_TYPES, *PROGRESS_EVENT_TYPES, *RESPONSE_EVENT_TYPES)
_REASONS: Final = ("gone", "failing")
_OMISSIONS: Final = ("too_large", "job_deleted")
_JOB_ID: Final = "job_019e5f0a3c0070008000000000000001"


class _Shape(BaseModel):
    """Fields may be added; receivers should ignore those that they do not know."""

    model_config = ConfigDict(extra="allow", frozen=True)


class EventUsage(_Shape):
    """Tokens, as the provider counted them; null where it did not report them."""

    input_tokens: int | None = Field(description="Tokens of the input.", examples=[12])
    output_tokens: int | None = Field(description="Tokens of the output.", examples=[34])


class EventError(_Shape):
    """Why a job, or its last attempt, did not succeed."""

    code: str = Field(
        description="The reason, for programs; docs/reference/errors.md lists them.", examples=["provider_unavailable"]
    )
    message: str = Field(
        description="The reason, for people.", examples=["The provider is temporarily unavailable. (HTTP 503)"]
    )


class JobEventData(_Shape):
    """Enough to decide what to do, and where to read the rest."""

    id: str = Field(description="The job's id.", examples=[_JOB_ID])
    job_id: str = Field(description="The job's id again, under a name that says so.", examples=[_JOB_ID])
    status: Annotated[JobState, _one_of(JobState)] = Field(
        description="The job's state after this event.", examples=["succeeded"]
    )
    model: str = Field(description="The job's model, `provider/name`.", examples=["openai/gpt-5-mini"])
    sequence: int = Field(
        description="The job's version. Of two events of one job, the larger sequence is the later.", examples=[3]
    )
    result_url: str = Field(
        description="Where to read the job, with an API key of the tenant.", examples=[f"/v1/jobs/{_JOB_ID}"]
    )
    usage: EventUsage | None = Field(default=None, description="After a success: the tokens that the provider counted.")
    error: EventError | None = Field(default=None, description="Why the job, or its last attempt, did not succeed.")
    run_at: str | None = Field(
        default=None,
        description="With `job.retrying`: the next attempt begins at or after this time (RFC 3339, UTC).",
        examples=["2026-11-21T09:30:04Z"],
    )
    result: dict[str, JsonValue] | None = Field(
        default=None,
        description="After a success, for endpoints with `include_result`: the job's output.",
        examples=[{"text": "Hello!"}],
    )
    result_omitted: Annotated[Literal["too_large", "job_deleted"], _one_of(_OMISSIONS)] | None = Field(
        default=None,
        description="Why `result` is missing although the endpoint has `include_result`: the output is `too_large`, "
        "or the job was deleted (`job_deleted`).",
        examples=["too_large"],
    )
    test: Literal[True] | None = Field(
        default=None, description="True in a test event: there is no such job.", examples=[True]
    )


class BatchEventData(_Shape):
    """There are no batches yet: only the test of an endpoint sends one."""

    id: str = Field(description="The batch's id.", examples=["batch_019e5f0a3c0070008000000000000001"])
    test: Literal[True] | None = Field(
        default=None, description="True in a test event: there is no such batch.", examples=[True]
    )


class EndpointEventData(_Shape):
    """About a webhook endpoint."""

    id: str = Field(description="The endpoint's id.", examples=["we_019e5f0a3c0070008000000000000001"])
    reason: Annotated[Literal["gone", "failing"], _one_of(_REASONS)] | None = Field(
        default=None,
        description="With `webhook.disabled`: the endpoint returned 410 (`gone`), or failed for too long (`failing`).",
        examples=["failing"],
    )
    failures: int | None = Field(
        default=None, description="With `webhook.disabled`: failures since the last success.", examples=[20]
    )
    test: Literal[True] | None = Field(default=None, description="True in a test event.", examples=[True])


class Event(_Shape):
    """The envelope of every event."""

    id: str = Field(
        description="`evt_…`, as in the header `webhook-id`: the same for all attempts and recipients.",
        examples=["evt_019e5f0a4f8870008000000000000002"],
    )
    object: Literal["event"] = Field(default="event", description="Always `event`.", examples=["event"])
    type: EventType = Field(description="What happened.", examples=["job.succeeded"])
    created_at: int = Field(description="When it happened, in Unix seconds.", examples=[1795253400])
    timestamp: str = Field(description="The same time as RFC 3339, in UTC.", examples=["2026-11-21T09:30:00Z"])


class JobEvent(Event):
    """Something happened to a job."""

    type: Annotated[Literal[JobEventType, ResponseType], _one_of(_JOB_EVENTS)] = Field(
        description="What happened.", examples=["job.succeeded"]
    )
    data: JobEventData = Field(description="The job.")


class BatchEvent(Event):
    """A batch ended."""

    type: Annotated[BatchType, _one_of(BATCH_EVENT_TYPES)] = Field(
        description="What happened.", examples=["batch.completed"]
    )
    data: BatchEventData = Field(description="The batch.")


class WebhookEvent(Event):
    """An endpoint was tested, or disabled."""

    type: Annotated[EndpointType, _one_of(get_args(EndpointType))] = Field(
        description="What happened.", examples=["webhook.ping"]
    )
    data: EndpointEventData = Field(description="The endpoint.")


@dataclass(frozen=True, slots=True)
class Described:
    """What a type of event means; `shape` is its body."""

    summary: str
    shape: type[JobEvent | BatchEvent | WebhookEvent] = JobEvent


_BATCH: Final = Described("A batch ended. There are no batches yet: only the test of an endpoint sends it.", BatchEvent)
EVENTS: Final[dict[EventType, Described]] = {
    "job.succeeded": Described("The job has its result."),
    "job.failed": Described("The job ended without a result; `data.error` says why."),
    "job.cancelled": Described("The job was cancelled."),
    "job.expired": Described("The job's deadline passed before it had a result."),
    "job.queued": Described("The job was accepted, or a caller retries it. Sent only to subscribers that name it."),
    "job.running": Described("A worker began an attempt. Sent only to subscribers that name it."),
    "job.retrying": Described("An attempt failed and another will follow. Sent only to subscribers that name it."),
    "response.completed": Described("`job.succeeded`, by OpenAI's name."),
    "response.failed": Described("`job.failed` or `job.expired`, by OpenAI's name."),
    "response.cancelled": Described("`job.cancelled`, by OpenAI's name."),
    "response.incomplete": Described(
        "`job.succeeded`, by OpenAI's name for a result that was cut by its token limit or a content filter."
    ),
    **dict.fromkeys(BATCH_EVENT_TYPES, _BATCH),
    "webhook.ping": Described("The endpoint is being tested.", WebhookEvent),
    "webhook.disabled": Described(
        "Another endpoint of the tenant was disabled: it returned 410, or it failed for too long.", WebhookEvent
    ),
}


def response_type(state: JobState, finish_reason: str | None) -> ResponseType:
    """OpenAI's name for the end `state`. It has none for a job whose deadline passed: its clients see a failed one."""
    if state is JobState.CANCELLED:
        return "response.cancelled"
    if state is not JobState.SUCCEEDED:
        return "response.failed"
    return "response.incomplete" if finish_reason in _CUT_SHORT else "response.completed"


def sample_data(event_type: EventType, subject: UUID) -> JobEventData | BatchEventData | EndpointEventData:
    """The `data` of an example of the type, about a job, batch or endpoint with the id `subject`."""
    shape = EVENTS[event_type].shape
    if shape is BatchEvent:
        return BatchEventData(id=f"batch_{subject.hex}")
    if shape is WebhookEvent:
        endpoint = show(ENDPOINT, subject)
        if event_type == DISABLED:
            return EndpointEventData(id=endpoint, reason="failing", failures=20)
        return EndpointEventData(id=endpoint)
    status, error = _SAMPLES[event_type]
    job = show_job(JobId(subject))
    return JobEventData(
        id=job,
        job_id=job,
        status=status,
        model="openai/gpt-5-mini",
        sequence=3,
        result_url=f"/v1/jobs/{job}",
        usage=EventUsage(input_tokens=12, output_tokens=34) if status is JobState.SUCCEEDED else None,
        error=error,
        run_at="2026-11-21T09:30:04Z" if event_type == "job.retrying" else None,
    )


def example(event_type: EventType) -> dict[str, JsonValue]:
    """A body of the type, for the documentation."""
    data = sample_data(event_type, UUID("019e5f0a-3c00-7000-8000-000000000001"))
    return {
        "id": show(EVENT, UUID("019e5f0a-4f88-7000-8000-000000000002")),
        "object": "event",
        "type": event_type,
        "created_at": 1795253400,
        "timestamp": "2026-11-21T09:30:00Z",
        "data": data.model_dump(mode="json", exclude_none=True),
    }


_UNAVAILABLE: Final = EventError(
    code="provider_unavailable", message="The provider is temporarily unavailable. (HTTP 503)"
)
_CANCELLED: Final = EventError.model_validate(cancel().failure, from_attributes=True)
_EXPIRED: Final = EventError.model_validate(expire().failure, from_attributes=True)
_SAMPLES: Final[dict[str, tuple[JobState, EventError | None]]] = {
    "job.succeeded": (JobState.SUCCEEDED, None),
    "job.failed": (JobState.FAILED, _UNAVAILABLE),
    "job.cancelled": (JobState.CANCELLED, _CANCELLED),
    "job.expired": (JobState.EXPIRED, _EXPIRED),
    "job.queued": (JobState.QUEUED, None),
    "job.running": (JobState.RUNNING, None),
    "job.retrying": (JobState.QUEUED, _UNAVAILABLE),
    "response.completed": (JobState.SUCCEEDED, None),
    "response.failed": (JobState.FAILED, _UNAVAILABLE),
    "response.cancelled": (JobState.CANCELLED, _CANCELLED),
    "response.incomplete": (JobState.SUCCEEDED, None),
}
