"""The query string of GET /v1/jobs, and the bounds of its fields."""

from typing import Annotated, Final

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from api.http.instants import Instant
from api.jobs.schemas.submit import LONGEST_KEY, LONGEST_VALUE, MOST_PAIRS
from core.domain.errors import InvalidParameter
from core.domain.ids import InvalidId, JobId, parse_job
from core.domain.job_state import JobState
from core.jobs.queries import JobFilter

_METADATA: Final = "metadata["


class JobFilterQuery(BaseModel):
    """Which jobs; every field narrows, and `metadata[key]=value` does so by a pair of the caller's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: list[JobState] = Field(default=[], description="One or several, repeated.")
    model: str | None = Field(default=None, max_length=200)
    created_after: Instant | None = Field(default=None, description="From this time on (RFC 3339 with offset).")
    created_before: Instant | None = Field(default=None, description="Before this time.")

    def filter(self, metadata: tuple[tuple[str, str], ...]) -> JobFilter:
        return JobFilter(
            states=tuple(self.status),
            model=self.model,
            created_after=self.created_after,
            created_before=self.created_before,
            metadata=metadata,
        )


class ListQuery(JobFilterQuery):
    """A page of them."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: str | None = Field(default=None, description="`next_cursor` of the page before.")

    def before_id(self) -> JobId | None:
        """The cursor: jobs older than this one. Raises InvalidParameter."""
        if self.after is None:
            return None
        try:
            return parse_job(self.after)
        except InvalidId:
            raise InvalidParameter("after: take it from the `next_cursor` of a page.", param="after") from None


async def metadata_pairs(request: Request) -> tuple[tuple[str, str], ...]:
    """The `metadata[key]=value` of a query string. Raises InvalidParameter for a name that means nothing here."""
    pairs = []
    for name, value in request.query_params.multi_items():
        if name.startswith(_METADATA) and name.endswith("]"):
            pairs.append((name[len(_METADATA) : -1], value))
        elif name not in ListQuery.model_fields:
            known = ", ".join([*ListQuery.model_fields, "metadata[key]"])
            raise InvalidParameter(f"{name[:80]}: there is no such filter; there are {known}.", param=name[:80])
    # Each pair is one more join: what no job can have is not asked for.
    if len(pairs) > MOST_PAIRS:
        raise InvalidParameter(f"metadata: at most {MOST_PAIRS} pairs, as many as a job has.", param="metadata")
    for key, value in pairs:
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
            raise InvalidParameter(
                f"metadata: a key has at most {LONGEST_KEY} characters and a value at most {LONGEST_VALUE}.",
                param="metadata",
            )
    return tuple(pairs)
