"""Many jobs at once: the filters of POST /v1/jobs/cancel and /v1/jobs/retry, and the lines of /v1/jobs/bulk."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from typing_extensions import TypedDict

from api.http.instants import Instant
from api.jobs.schemas.submit import MetadataKey, MetadataValue
from core.domain.job_state import JobState
from core.jobs.queries import JobFilter


class BulkChange(BaseModel):
    """Which jobs; each field narrows. Without any, `all` must be true."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: list[JobState] = Field(default=[], description="Only of these; those that can't be changed are left alone.")
    model: str | None = Field(default=None, max_length=200)
    created_after: Instant | None = None
    created_before: Instant | None = None
    metadata: dict[MetadataKey, MetadataValue] = Field(default={}, max_length=16)
    all: Annotated[bool, Field(strict=True)] = Field(default=False, description="Every job that can be changed.")
    limit: int = Field(default=10_000, ge=1, le=10_000, description="At most so many jobs in this request.")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        narrows = self.model_fields_set & {"status", "model", "created_after", "created_before", "metadata"}
        if not narrows and not self.all:
            raise ValueError('say which jobs, or send {"all": true}')
        return self

    def filter(self) -> JobFilter:
        return JobFilter(
            states=tuple(self.status),
            model=self.model,
            created_after=self.created_after,
            created_before=self.created_before,
            metadata=tuple(self.metadata.items()),
        )


class BulkView(TypedDict):
    """What was done; ask again while `has_more`."""

    object: str
    changed: int
    has_more: bool


class BulkSubmit(BaseModel):
    """Many jobs at once; each has its own outcome."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jobs: list[dict[str, JsonValue]] = Field(
        min_length=1,
        max_length=1000,
        description="Each as the body of POST /v1/jobs, with an `idempotency_key` of its own if it has one.",
    )


class BulkLineView(TypedDict):
    """What became of one job: an id, or an error."""

    index: int
    id: str | None
    status: str | None
    replayed: bool
    error: dict[str, str | None] | None


class BulkSubmitView(TypedDict):
    object: str
    accepted: int
    refused: int
    data: list[BulkLineView]
