"""Many jobs at once: the filters of POST /v1/jobs/cancel and /v1/jobs/retry, and the lines of /v1/jobs/bulk."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator
from typing_extensions import TypedDict

from api.http.errors import ErrorObject
from api.http.fields import HEX, described
from api.http.instants import Instant
from api.http.operations import REF
from api.jobs.schemas.submit import MetadataKey, MetadataValue, SubmitJob
from core.domain.job_state import JobState
from core.jobs.queries import JobFilter


class BulkChange(BaseModel):
    """Which jobs to change: those that match every field. Without a filter, `all` must be true."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "anyOf": [
                {"required": ["status"]},
                {"required": ["model"], "properties": {"model": {"type": "string"}}},
                {"required": ["created_after"], "properties": {"created_after": {"type": "string"}}},
                {"required": ["created_before"], "properties": {"created_before": {"type": "string"}}},
                {"required": ["metadata"]},
                {"required": ["all"], "properties": {"all": {"const": True}}},
            ],
            "examples": [{"metadata": {"order": "4711"}}, {"all": True}],
        },
    )

    status: list[JobState] = Field(
        default=[],
        min_length=1,
        description="Only jobs in these states; others are left as they are.",
        examples=[["failed"]],
    )
    model: str | None = Field(
        default=None, max_length=200, description="Only jobs for this model.", examples=["echo/echo"]
    )
    created_after: Instant | None = Field(
        default=None,
        description="Only jobs submitted at this time or later (RFC 3339 with an offset).",
        examples=["2026-03-04T05:06:07Z"],
    )
    created_before: Instant | None = Field(
        default=None, description="Only jobs submitted before this time.", examples=["2026-03-05T05:06:07Z"]
    )
    metadata: dict[MetadataKey, MetadataValue] = Field(
        default={},
        min_length=1,
        max_length=16,
        description="Only jobs with these pairs.",
        examples=[{"order": "4711"}],
    )
    all: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Every job that can be changed; required if there is no filter.", examples=[True]
    )
    limit: int = Field(
        default=10_000, ge=1, le=10_000, strict=True, description="Maximum number of jobs to change.", examples=[10_000]
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.filter() == JobFilter() and not self.all:
            raise ValueError('name the jobs by a filter, or send {"all": true}')
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
    """The result of a change of many jobs."""

    object: Annotated[str, described("`bulk_cancel` or `bulk_retry`.", "bulk_cancel")]
    changed: Annotated[int, described("How many jobs were changed.", 3)]
    has_more: Annotated[bool, described("Whether more than `limit` jobs match; if so, send the request again.", False)]


class BulkJob(SubmitJob):
    """One job of many: the body of POST /v1/jobs, with an idempotency key of its own."""

    idempotency_key: str | None = Field(
        default=None,
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="As the header `Idempotency-Key` of POST /v1/jobs, for this job alone.",
        examples=["order-4711"],
    )


_Line = Annotated[dict[str, JsonValue], WithJsonSchema({"$ref": REF.format(model="BulkJob")})]


class BulkSubmit(BaseModel):
    """Many jobs at once; each has its own outcome."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"jobs": [{"model": "echo/echo", "input": "one"}]}]},
    )

    jobs: list[_Line] = Field(
        min_length=1, max_length=1000, description="The jobs; an invalid one does not affect the others."
    )


class BulkLineView(TypedDict):
    """What became of one job: an id, or an error."""

    index: Annotated[int, described("The index of the job in the request, from 0.", 0)]
    id: Annotated[str | None, described("The job's id; null when it was refused.", f"job_{HEX}")]
    status: Annotated[str | None, described("The job's state; null when it was refused.", "queued", values=JobState)]
    replayed: Annotated[bool, described("Whether an earlier request with the same key created it.", False)]
    error: Annotated[ErrorObject | None, described("Why it was refused; null when it was accepted.")]


class BulkSubmitView(TypedDict):
    """The outcome of each job, in the order of the request."""

    object: Annotated[str, described("Always `bulk_submit`.", "bulk_submit")]
    accepted: Annotated[int, described("How many jobs were accepted; they are stored.", 1)]
    refused: Annotated[int, described("How many jobs were refused.", 0)]
    data: Annotated[list[BulkLineView], described("The outcome of each job.")]
