"""Which events an endpoint can ask for, and those about webhooks themselves. Jobs' are in core/domain/events.py."""

from datetime import datetime
from typing import Final

import orjson
from pydantic import JsonValue

from core.domain.events import JOB_EVENT_TYPES, RESPONSE_EVENT_TYPES, JobEnded
from core.domain.ids import ENDPOINT, EVENT, EndpointId, EventId, JobId, show, show_job
from core.domain.inference import Usage
from core.domain.job_state import JobState
from core.domain.transitions import cancel, expire
from core.providers.faults import Fault, FaultCode
from core.webhooks.endpoints.records import DisabledEndpoint

PING: Final = "webhook.ping"
DISABLED: Final = "webhook.disabled"
# Made where the step is taken, by core/jobs/sql: `inferd_job_event` of migration 0002.
STEP_EVENT_TYPES: Final = ("job.queued", "job.running", "job.retrying")
# Taken, so that an endpoint can ask for all that an OpenAI client knows. There are no batches yet: a test sends them.
BATCH_EVENT_TYPES: Final = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")
EVENT_TYPES: Final = (
    *JOB_EVENT_TYPES,
    *STEP_EVENT_TYPES,
    *RESPONSE_EVENT_TYPES,
    *BATCH_EVENT_TYPES,
    PING,
    DISABLED,
)

_SAMPLE_MODEL: Final = "echo/echo"
# The end of a job that each of OpenAI's names may stand for.
_ENDS: Final = {
    "response.completed": JobState.SUCCEEDED,
    "response.incomplete": JobState.SUCCEEDED,
    "response.failed": JobState.FAILED,
    "response.cancelled": JobState.CANCELLED,
}
_SAMPLE_FAILURES: Final = {
    JobState.FAILED: Fault(FaultCode.PROVIDER_UNAVAILABLE).failure(),
    JobState.CANCELLED: cancel().failure,
    JobState.EXPIRED: expire().failure,
}


def disabled_event(event_id: EventId, endpoint: DisabledEndpoint, at: datetime) -> bytes:
    """Returns the event that the tenant's other endpoints get."""
    data: dict[str, JsonValue] = {
        "id": show(ENDPOINT, endpoint.id),
        "reason": endpoint.reason,
        "failures": endpoint.failures,
    }
    return orjson.dumps(_envelope(event_id, DISABLED, at, data))


def sample_event(event_id: EventId, event_type: str, endpoint_id: EndpointId, at: datetime) -> bytes:
    """An event of the type with nothing behind it: `data.test` says so. For the test of an endpoint."""
    if event_type in JOB_EVENT_TYPES or event_type in RESPONSE_EVENT_TYPES:
        state = _ENDS.get(event_type) or JobState(event_type.removeprefix("job."))
        usage = Usage(input_tokens=7, output_tokens=3) if state is JobState.SUCCEEDED else None
        failure = _SAMPLE_FAILURES.get(state)
        event = JobEnded(event_id, JobId(endpoint_id), state, _SAMPLE_MODEL, 3, at, usage, failure).body()
        data = event["data"]
        assert isinstance(data, dict)  # noqa: S101 - as the line above has it
        data["test"] = True
        return orjson.dumps({**event, "type": event_type})
    if event_type in STEP_EVENT_TYPES:
        step = step_data(JobId(endpoint_id), event_type, _SAMPLE_MODEL, 2, at)
        return orjson.dumps(_envelope(event_id, event_type, at, {**step, "test": True}))
    if event_type in BATCH_EVENT_TYPES:
        batch: dict[str, JsonValue] = {"id": f"batch_{endpoint_id.hex}", "test": True}
        return orjson.dumps(_envelope(event_id, event_type, at, batch))
    sample: dict[str, JsonValue] = {"id": show(ENDPOINT, endpoint_id), "test": True}
    if event_type == DISABLED:
        sample |= {"reason": "failing", "failures": 20}
    return orjson.dumps(_envelope(event_id, event_type, at, sample))


def step_data(job_id: JobId, event_type: str, model: str, sequence: int, at: datetime) -> dict[str, JsonValue]:
    """The `data` of a step before a job's end, as `inferd_job_event` makes it: for samples and the reference."""
    job = show_job(job_id)
    data: dict[str, JsonValue] = {
        "id": job,
        "job_id": job,
        "status": "running" if event_type == "job.running" else "queued",
        "model": model,
        "sequence": sequence,
        "result_url": f"/v1/jobs/{job}",
    }
    if event_type == "job.retrying":
        fault = Fault(FaultCode.PROVIDER_UNAVAILABLE)
        data |= {"run_at": _shown(at), "error": {"code": fault.code.value, "message": fault.message}}
    return data


def _shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _envelope(event_id: EventId, event_type: str, at: datetime, data: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        "id": show(EVENT, event_id),
        "object": "event",
        "type": event_type,
        "created_at": int(at.timestamp()),
        "timestamp": _shown(at),
        "data": data,
    }
