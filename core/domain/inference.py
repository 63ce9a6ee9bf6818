"""The request and the result of one call to a provider, the same for every adapter.

core/jobs/execute.py builds the request from the stored job, an adapter returns the result, and core/jobs/finish.py
stores it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from core.domain.ids import JobId


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One call to a model.

    `model` is the name at the provider, without the provider's own name. `messages` are OpenAI chat messages.
    `params` are those that the caller set (`temperature`, `max_tokens`, …). `attempt` counts from 1 and may be
    refunded; `run_no` counts every run. `timeout` is for the whole call, in seconds. The adapter calls `may_send` just
    before it sends: a process that stalled may have lost the job.
    """

    job_id: JobId
    model: str
    messages: tuple[Mapping[str, JsonValue], ...]
    params: Mapping[str, JsonValue]
    attempt: int
    run_no: int
    timeout: float
    may_send: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the provider reported them; None where it reported none."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """A validated answer: `text` is the assistant's text, `message` the whole assistant message as received."""

    text: str
    message: Mapping[str, JsonValue]
    finish_reason: str
    model: str
    usage: Usage = field(default_factory=Usage)
    provider_request_id: str | None = None
