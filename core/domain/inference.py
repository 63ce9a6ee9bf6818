"""The shape every provider speaks: one request in, one result out.

Built by core/jobs/execute.py from the stored job, answered by core/providers, stored by core/jobs/finish.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from core.domain.ids import JobId


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One call to a model.

    `model` is the name at the provider (without the provider's own name); `messages` are OpenAI chat messages;
    `params` are what the caller set (`temperature`, `max_tokens`, …); `attempt` counts from 1 and
    may be refunded, `run_no` counts every run; `timeout` is the whole call's, in seconds. `may_send` is asked when
    everything is ready to be sent: a process that stood still may have lost the job meanwhile.
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
    """Tokens as the provider counted them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """A validated answer. `text` is the assistant's words; `message` is the whole assistant message as it came."""

    text: str
    message: Mapping[str, JsonValue]
    finish_reason: str
    model: str
    usage: Usage = field(default_factory=Usage)
    provider_request_id: str | None = None
