"""What a webhook says: one envelope, readable by Standard Webhooks and by the openai SDK's `unwrap`.

Built by core/jobs when a job ends; the bytes are stored once and signed again for each attempt.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from core.domain.ids import EVENT, EventId, JobId, show, show_job
from core.domain.inference import Usage
from core.domain.job_state import TERMINAL, JobState
from core.domain.transitions import Failure

JOB_EVENT_TYPES: Final = tuple(f"job.{state}" for state in JobState if state in TERMINAL)
# The same ends by OpenAI's names, for receivers that know those.
RESPONSE_EVENT_TYPES: Final = ("response.completed", "response.failed", "response.cancelled", "response.incomplete")
_CUT_SHORT: Final = frozenset({"length", "content_filter"})


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job reached `state`. `sequence` is the job's version: a receiver orders by it."""

    event_id: EventId
    job_id: JobId
    state: JobState
    model: str
    sequence: int
    at: datetime
    usage: Usage | None = None
    failure: Failure | None = None
    finish_reason: str | None = None

    @property
    def type(self) -> str:
        return f"job.{self.state}"

    @property
    def response_type(self) -> str:
        """OpenAI has no word for a job whose deadline passed; its clients take it for a failed one."""
        if self.state is JobState.CANCELLED:
            return "response.cancelled"
        if self.state is not JobState.SUCCEEDED:
            return "response.failed"
        return "response.incomplete" if self.finish_reason in _CUT_SHORT else "response.completed"

    def body(self) -> dict[str, JsonValue]:
        """The thin payload: enough to decide, and a link to fetch the rest under the reader's own key."""
        job = show_job(self.job_id)
        data: dict[str, JsonValue] = {
            "id": job,
            "job_id": job,
            "status": self.state.value,
            "model": self.model,
            "sequence": self.sequence,
            "result_url": f"/v1/jobs/{job}",
        }
        if self.usage is not None:
            data["usage"] = {"input_tokens": self.usage.input_tokens, "output_tokens": self.usage.output_tokens}
        if self.failure is not None:
            data["error"] = {"code": self.failure.code, "message": self.failure.message}
        return {
            "id": show(EVENT, self.event_id),
            "object": "event",
            "type": self.type,
            "created_at": int(self.at.timestamp()),
            "timestamp": self.at.isoformat().replace("+00:00", "Z"),
            "data": data,
        }
