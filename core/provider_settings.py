"""What INFERD_PROVIDERS says of each OpenAI-compatible server. Only core/settings.py reads it."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from core.setting_groups import Group


class RetrySettings(Group):
    """Retry limits for the jobs of one provider; a job's own `retry` overrides them, INFERD_JOB_… fills the gaps."""

    max_attempts: int | None = Field(default=None, ge=1, le=50, description="Attempts of a job.")
    initial_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="Seconds to wait after the first failed attempt."
    )
    max_seconds: float | None = Field(
        default=None, gt=0, le=86_400, description="Longest wait in seconds between two attempts or snoozes."
    )

    @model_validator(mode="after")
    def _waits_in_order(self) -> Self:
        if (
            self.initial_seconds is not None
            and self.max_seconds is not None
            and self.initial_seconds > self.max_seconds
        ):
            raise ValueError("`initial_seconds` must not be larger than `max_seconds`")
        return self


class ProviderSettings(Group):
    """One entry of INFERD_PROVIDERS."""

    base_url: str = Field(
        description="URL of its OpenAI-compatible API, usually ending in /v1, such as http://gpu:8000/v1."
    )
    api_key: SecretStr | None = Field(
        default=None, description="Sent as the bearer token. Unset: no Authorization header is sent."
    )
    models: tuple[str, ...] = Field(
        default=(),
        description='Names of the models that it serves, such as ["qwen3-8b"]. Empty: any name is passed on to it.',
    )
    concurrency: int = Field(
        default=256, ge=1, description="Connections to it from one worker process; jobs beyond that wait at no cost."
    )
    max_answer_bytes: int = Field(
        default=33_554_432,
        ge=1024,
        description="Largest response in bytes after decompression (32 MiB). A larger one fails the job with "
        "`answer_too_large`.",
    )
    retry: RetrySettings = Field(
        default=RetrySettings(),
        description='`max_attempts`, `initial_seconds` and `max_seconds` for its jobs, such as {"max_attempts": 20}.',
    )
