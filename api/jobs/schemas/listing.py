"""The query string of GET /v1/jobs."""

from typing import Annotated, Literal

from pydantic import Field

from api.http.instants import Instant
from api.http.paging import PageQuery, cursor
from api.jobs.schemas.submit import MOST_PAIRS, MetadataKey, MetadataValue
from core.domain.ids import JOB
from core.domain.job_state import JobState
from core.jobs.queries import JobFilter


class ListQuery(PageQuery):
    """Which jobs: every field narrows."""

    after: str | None = cursor(JOB)
    status: list[JobState] = Field(
        default=[], description="Only jobs in this state; repeat the parameter for several.", examples=[["failed"]]
    )
    model: str | None = Field(
        default=None, max_length=200, description="Only jobs for this model.", examples=["echo/echo"]
    )
    created_after: Instant | None = Field(
        default=None, description="Only jobs submitted at this time or later (RFC 3339 with an offset)."
    )
    created_before: Instant | None = Field(default=None, description="Only jobs submitted before this time.")
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MOST_PAIRS)] = Field(
        default={},
        description="Only jobs with these pairs, as `metadata[key]=value`; repeat the parameter for several keys.",
        examples=[{"order": "4711"}],
    )
    include: list[Literal["output"]] = Field(
        default=[],
        description="`output` adds each job's output, which makes the page larger and slower.",
        examples=[["output"]],
    )

    def filter(self) -> JobFilter:
        return JobFilter(
            states=tuple(self.status),
            model=self.model,
            created_after=self.created_after,
            created_before=self.created_before,
            metadata=tuple(self.metadata.items()),
        )
