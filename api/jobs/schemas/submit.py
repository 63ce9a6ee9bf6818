"""The body of POST /v1/jobs: every field, its bounds, and nothing that is not named here."""

import math
import re
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
    """Words."""

    type: Literal["text"]
    text: str


def _sent_along(url: str) -> str:
    # Until a guarded fetch exists: a provider that is told to fetch reaches what its own network reaches.
    if len(url) > _LARGEST_IMAGE or not _IMAGE.fullmatch(url):
        raise CodedError(
            "image_url_not_supported",
            "must be the picture itself, as `data:image/png;base64,…` (png, jpeg, gif or webp, at most 8 MiB); "
            "nothing is fetched from a URL",
        )
    return url


class ImageUrl(_Strict):
    url: Annotated[str, AfterValidator(_sent_along)] = Field(
        description="The picture itself: `data:image/png;base64,…` (png, jpeg, gif or webp, at most 8 MiB). Any other "
        "URL is refused with the code `image_url_not_supported`: nothing is fetched."
    )
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Strict):
    """A picture as a `data:` URL, for models that can see."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(_Strict):
    """One chat message, as OpenAI's chat completions have it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = Field(
        default=None, description="The words, or parts. Only an assistant's message with tool_calls may go without."
    )
    name: str | None = Field(default=None, max_length=64)
    tool_calls: list[dict[str, JsonValue]] | None = Field(default=None, min_length=1)
    tool_call_id: str | None = Field(default=None, max_length=128)

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and self.tool_calls is None:
            raise ValueError("needs `content`")
        return self


class Webhook(_Strict):
    """Who is called back."""

    url: str = Field(description="Called by POST, signed as Standard Webhooks 1.0 says.")
    events: list[JobEventType] = Field(
        default=list(JOB_EVENT_TYPES),
        min_length=1,
        max_length=len(get_args(JobEventType)),
        description="Which events are told: by default every end, and no step before it.",
    )


class Retry(_Strict):
    """How often, and how far apart, a job is tried. What is left out is as its provider or the settings say."""

    max_attempts: int | None = Field(default=None, ge=1, le=50)
    initial_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="The wait after the first attempt; it doubles with each one."
    )
    max_seconds: float | None = Field(default=None, gt=0, le=_DAY, description="The longest wait between two attempts.")


class SubmitJob(_Strict):
    """A job."""

    model: str = Field(description="`provider/name`; GET /v1/models lists those that are known by name.")
    input: (
        Annotated[str, StringConstraints(min_length=1)] | Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    ) = Field(description="A prompt, or chat messages.")
    params: dict[str, JsonValue] = Field(
        default={},
        description="What the model is asked with: `temperature`, `max_tokens`, … What OpenAI does not know, such as "
        "`top_k` or `chat_template_kwargs`, is passed on to the server as it is.",
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], BeforeValidator(at_most_sixteen)] = Field(
        default={}, max_length=16, description="Up to 16 pairs of your own; GET /v1/jobs filters by them."
    )
    priority: Literal["interactive", "standard", "batch"] = "standard"
    run_at: Annotated[Instant, Field(strict=False)] | None = Field(
        default=None, description="Not before this time (RFC 3339 with an offset), at most a year ahead."
    )
    timeout_seconds: float | None = Field(default=None, gt=0, le=_DAY, description="How long one attempt may take.")
    deadline_seconds: float | None = Field(
        default=None, gt=0, le=31 * _DAY, description="From now; a job that has not ended by then expires."
    )
    max_attempts: int | None = Field(default=None, ge=1, le=50, description="The short form of `retry.max_attempts`.")
    retry: Retry | None = Field(
        default=None, description="How it is tried again; what is left out is as the provider or the settings say."
    )
    webhook: Webhook | None = None

    def draft(self, now: datetime) -> Draft:
        """The job as core takes it. Raises ValueError when its times contradict each other, or InvalidParameter."""
        self._check_times(now)
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
            retry=self._retry(),
            webhook_url=self.webhook.url if self.webhook else None,
            webhook_events=tuple(dict.fromkeys(self.webhook.events)) if self.webhook else (),
        )

    def _retry(self) -> RetryLimits:
        asked = self.retry or Retry()
        if self.max_attempts is not None and asked.max_attempts is not None:
            raise InvalidParameter(
                "Send either `max_attempts` or `retry.max_attempts`, not both.", param="retry.max_attempts"
            )
        if asked.initial_seconds is not None and asked.initial_seconds > (asked.max_seconds or math.inf):
            raise InvalidParameter(
                "`retry.initial_seconds` must not be larger than `retry.max_seconds`.", param="retry.initial_seconds"
            )
        return RetryLimits(self.max_attempts or asked.max_attempts, asked.initial_seconds, asked.max_seconds)

    def _check_times(self, now: datetime) -> None:
        if self.run_at is None:
            return
        wait = self.run_at - now
        if wait > _FARTHEST:
            raise ValueError("run_at is more than a year ahead")
        if self.deadline_seconds is not None and wait.total_seconds() >= self.deadline_seconds:
            raise ValueError("run_at is behind the deadline: the job could never run; raise deadline_seconds")
