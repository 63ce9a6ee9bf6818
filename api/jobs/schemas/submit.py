"""The body of POST /v1/jobs: every field, its bounds, and nothing that is not named here."""

import math
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from api.http.instants import Instant
from api.http.problems import CodedError
from core.domain.errors import InvalidParameter
from core.domain.events import JOB_EVENT_TYPES, JobEventType
from core.domain.job_state import Priority
from core.domain.retry import RetryLimits
from core.jobs.submit import Draft

_DAY: Final = 86_400.0
_FARTHEST: Final = timedelta(days=366)
MOST_PAIRS: Final = 16
LONGEST_KEY: Final = 64
LONGEST_VALUE: Final = 512
_LARGEST_IMAGE: Final = 8 * 1024 * 1024
_IMAGE: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}", re.ASCII)

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_KEY)]
MetadataValue = Annotated[str, StringConstraints(max_length=LONGEST_VALUE)]


def at_most_sixteen(metadata: object) -> object:
    """Pydantic counts the pairs once it has looked at each, which may be twenty thousand."""
    if isinstance(metadata, dict) and len(metadata) > MOST_PAIRS:
        raise ValueError(f"must have at most {MOST_PAIRS} items")
    return metadata


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(_Strict):
    """Text."""

    type: Literal["text"] = Field(description="Always `text`.", examples=["text"])
    text: str = Field(description="The text.", examples=["What is in this picture?"])


def _sent_along(url: str) -> str:
    # Until a guarded fetch exists: a provider that fetches a URL could reach its own private network.
    if len(url) > _LARGEST_IMAGE or not _IMAGE.fullmatch(url):
        raise CodedError(
            "image_url_not_supported",
            "must be the picture itself, as `data:image/png;base64,…` (png, jpeg, gif or webp, at most 8 MiB); "
            "nothing is fetched from a URL",
        )
    return url


class ImageUrl(_Strict):
    """An image."""

    url: Annotated[str, AfterValidator(_sent_along)] = Field(
        description="The image itself: `data:image/png;base64,…` (png, jpeg, gif or webp, at most 8 MiB). Any other "
        "URL is refused with the code `image_url_not_supported`: nothing is fetched.",
        examples=["data:image/png;base64,iVBORw0KGgo="],
        json_schema_extra={"pattern": f"^{_IMAGE.pattern}$"},
    )
    detail: Literal["auto", "low", "high"] | None = Field(
        default=None, description="The resolution at which the model reads the image.", examples=["low"]
    )


class ImagePart(_Strict):
    """An image as a `data:` URL, for models that accept images."""

    type: Literal["image_url"] = Field(description="Always `image_url`.", examples=["image_url"])
    image_url: ImageUrl = Field(description="The image.")


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(_Strict):
    """One chat message, as OpenAI's chat completions have it."""

    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(
        description="Who wrote the message.", examples=["user"]
    )
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = Field(
        default=None,
        description="The text, or a list of parts. Only a message with `tool_calls` may omit it.",
        examples=["Say hello."],
    )
    name: str | None = Field(
        default=None, max_length=64, description="Distinguishes participants with the same role.", examples=["anna"]
    )
    tool_calls: list[dict[str, JsonValue]] | None = Field(
        default=None,
        min_length=1,
        description="The tools that the assistant called, in OpenAI's format.",
        examples=[[{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]],
    )
    tool_call_id: str | None = Field(
        default=None,
        max_length=128,
        description="With the role `tool`: the id of the call that this message answers.",
        examples=["call_1"],
    )

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and self.tool_calls is None:
            raise ValueError("needs `content`")
        return self


class Webhook(_Strict):
    """Who is called back about this job."""

    url: str = Field(
        description="Called by POST, signed by Standard Webhooks 1.0. https, and a public address.",
        examples=["https://example.com/hook"],
    )
    events: list[JobEventType] = Field(
        default=list(JOB_EVENT_TYPES),
        min_length=1,
        max_length=len(get_args(JobEventType)),
        description="Types of events to send; by default those of the final states.",
        examples=[["job.succeeded", "job.failed"]],
    )


class Retry(_Strict):
    """How often, and how far apart, a job is tried. The provider's settings, or the server's, fill in the rest."""

    max_attempts: int | None = Field(default=None, ge=1, le=50, description="Maximum number of attempts.", examples=[8])
    initial_seconds: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        description="Seconds to wait after the first attempt; the wait doubles with each further one.",
        examples=[1.0],
    )
    max_seconds: float | None = Field(
        default=None, gt=0, le=_DAY, description="Maximum number of seconds between two attempts.", examples=[120.0]
    )


class SubmitJob(_Strict):
    """A job to run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "echo/echo", "input": "Say hello."},
                {
                    "model": "echo/echo",
                    "input": [{"role": "user", "content": "Say hello."}],
                    "params": {"temperature": 0.2, "max_tokens": 100},
                    "metadata": {"order": "4711"},
                    "deadline_seconds": 3600,
                },
            ]
        }
    )

    model: str = Field(
        description="`provider/name`; GET /v1/models lists those that are known by name.", examples=["echo/echo"]
    )
    input: (
        Annotated[str, StringConstraints(min_length=1)] | Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    ) = Field(description="A prompt, or chat messages.", examples=["Say hello."])
    params: dict[str, JsonValue] = Field(
        default={},
        description="Parameters of the model: `temperature`, `max_tokens`, … Those that OpenAI does not have, such as "
        "`top_k` or `chat_template_kwargs`, are passed on unchanged.",
        examples=[{"temperature": 0.2, "max_tokens": 100}],
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], BeforeValidator(at_most_sixteen)] = Field(
        default={},
        max_length=16,
        description="Up to 16 key-value pairs of your own; GET /v1/jobs filters by them.",
        examples=[{"order": "4711"}],
    )
    priority: Literal["interactive", "standard", "batch"] = Field(
        default="standard", description="Jobs of a higher priority start first.", examples=["standard"]
    )
    run_at: Annotated[Instant, Field(strict=False)] | None = Field(
        default=None,
        description="Do not start before this time (RFC 3339 with an offset), at most a year ahead.",
        examples=["2026-03-04T05:06:07Z"],
    )
    timeout_seconds: float | None = Field(
        default=None, gt=0, le=_DAY, description="Maximum duration of one attempt, in seconds.", examples=[60]
    )
    deadline_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31 * _DAY,
        description="The job expires if it has not ended within this number of seconds from now.",
        examples=[3600],
    )
    max_attempts: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="The short form of `retry.max_attempts`; send one of the two.",
        examples=[8],
    )
    retry: Retry | None = Field(
        default=None, description="How the job is retried; the provider's settings, or the server's, fill in the rest."
    )
    webhook: Webhook | None = Field(default=None, description="Who is called back about this job.")

    def draft(self) -> Draft:
        """The job as core takes it, once `problems` has found none."""
        messages: list[JsonValue] = (
            [{"role": "user", "content": self.input}]
            if isinstance(self.input, str)
            else [message.model_dump(mode="json", exclude_unset=True) for message in self.input]
        )
        return Draft(
            model=self.model,
            messages=messages,
            params=self.params,
            metadata=self.metadata,
            priority=Priority(self.priority),
            run_at=self.run_at,
            deadline_seconds=self.deadline_seconds,
            timeout_seconds=self.timeout_seconds,
            retry=self._retry_limits(),
            webhook_url=self.webhook.url if self.webhook else None,
            webhook_events=tuple(dict.fromkeys(self.webhook.events)) if self.webhook else (),
        )

    def _retry_limits(self) -> RetryLimits:
        asked = self.retry or Retry()
        return RetryLimits(self.max_attempts or asked.max_attempts, asked.initial_seconds, asked.max_seconds)

    def problems(self, now: datetime) -> Iterator[InvalidParameter]:
        """What is wrong between fields that are each right by themselves."""
        asked = self.retry or Retry()
        if self.max_attempts is not None and asked.max_attempts is not None:
            yield InvalidParameter(
                "Send either `max_attempts` or `retry.max_attempts`, not both.", param="retry.max_attempts"
            )
        if asked.initial_seconds is not None and asked.initial_seconds > (asked.max_seconds or math.inf):
            yield InvalidParameter(
                "`retry.initial_seconds` must not be larger than `retry.max_seconds`.", param="retry.initial_seconds"
            )
        if self.run_at is None:
            return
        wait = self.run_at - now
        if wait > _FARTHEST:
            yield InvalidParameter("run_at: must be within a year.", param="run_at")
        elif self.deadline_seconds is not None and wait.total_seconds() >= self.deadline_seconds:
            yield InvalidParameter(
                "run_at: is after the deadline, so that the job could never run; raise `deadline_seconds`.",
                param="run_at",
            )
