"""The bodies of POST /v1/jobs/cancel and /v1/jobs/retry: a filter, as GET /v1/jobs has it."""

from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from api.schemas.submit import MetadataKey, MetadataValue
from core.domain.job_state import JobState
from core.jobs.queries import JobFilter


class BulkChange(BaseModel):
    """Which jobs; each field narrows. Without any, `all` must be true."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: list[JobState] = Field(default=[], description="Only of these; those that can't be changed are left alone.")
    model: str | None = Field(default=None, max_length=200)
    created_after: AwareDatetime | None = None
    created_before: AwareDatetime | None = None
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
