"""Reading jobs, for one caller and from PostgreSQL always. Called by the routes and core/jobs/group_commit.py."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import asyncpg
import orjson
import structlog
from pydantic import JsonValue
from sqlalchemy import ColumnElement, Select, and_, func, true
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from core.db.grouping import Failed
from core.db.rows import from_json, from_record, names
from core.db.sealed import SealBroken, Sealer
from core.db.session import Connection, ReadSession
from core.db.statements import Statement
from core.db.tables import DeletedJobRow, JobMetadataRow, JobRow, ResultRow
from core.domain.errors import Gone, JobUnreadable, NotFound
from core.domain.ids import JobId, TenantId, show_job, uuid_at
from core.domain.job_state import JobState
from core.domain.paging import Page, page_of
from core.jobs.records import AttemptRecord, DeliveryRecord, JobKey, JobRecord, JobSummary

log = structlog.get_logger(__name__)

# How far the clocks of an API and of PostgreSQL may be apart, with the time that a submit may take.
_CLOCKS_APART_SECONDS: Final = 3600.0
# Of one job in a list: a page of a hundred must fit into memory many times.
MAX_LISTED_OUTPUT_BYTES: Final = 1024 * 1024

GET: Final = Statement("core/jobs/sql/get.sql", JobKey)
# The table's name for `metadata` is another one: SQLAlchemy keeps that name for itself.
_SUMMARY_COLUMNS: Final[list[ColumnElement[object]]] = [
    col(getattr(JobRow, {"metadata": "meta"}.get(name, name))).label(name) for name in names(JobSummary)
]

Query = TypeVar("Query", bound="Select[*tuple[Any, ...]]")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list is narrowed to; None or empty means anything."""

    states: tuple[JobState, ...] = ()
    model: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: tuple[tuple[str, str], ...] = ()


async def get_many(connection: Connection, sealer: Sealer, wanted: Sequence[JobKey]) -> list[JobRecord | Failed | None]:
    """Each job whole, None where this tenant has no such job, or Failed where a row can't be read."""
    records = await GET.fetch(connection, list(dict.fromkeys(wanted)))
    found = {from_record(JobKey, record): record for record in records}
    return [_readable(found[each], sealer) if each in found else None for each in wanted]


async def why_missing(session: ReadSession, tenant_id: TenantId, job_id: JobId) -> Gone | NotFound:
    """410 for a job that was deleted, 404 for one that never was the caller's."""
    query = select(DeletedJobRow.id).where(col(DeletedJobRow.id) == job_id, col(DeletedJobRow.tenant_id) == tenant_id)
    name = show_job(job_id)
    if (await session.exec(query)).first() is not None:
        return Gone(f"{name} was deleted.")
    return NotFound(f"There is no job {name}.")


async def list_jobs(
    session: ReadSession, tenant_id: TenantId, wanted: JobFilter, *, before: JobId | None, limit: int
) -> Page[JobSummary]:
    """The caller's jobs, newest first, from just before the job `before`."""
    query = _narrowed(select(JobRow).with_only_columns(*_SUMMARY_COLUMNS), tenant_id, wanted, before)
    # By the connection: these are rows of some columns, and no JobRow that could be changed.
    rows = (await (await session.connection()).execute(query.limit(limit + 1))).mappings().all()
    return page_of(rows, limit, lambda row: from_record(JobSummary, row))


async def list_outputs(
    session: ReadSession, sealer: Sealer, tenant_id: TenantId, job_ids: Sequence[JobId]
) -> dict[JobId, dict[str, JsonValue]]:
    """The outputs of those jobs that have one of at most MAX_LISTED_OUTPUT_BYTES, and that can be opened."""
    query = select(ResultRow.job_id, ResultRow.output).where(
        col(ResultRow.tenant_id) == tenant_id,
        col(ResultRow.job_id).in_(job_ids),
        func.octet_length(col(ResultRow.output)) <= MAX_LISTED_OUTPUT_BYTES,
    )
    found: dict[JobId, dict[str, JsonValue]] = {}
    for job_id, output in await session.exec(query):
        # A read of the job alone says what is wrong with it; its neighbours are shown.
        with suppress(SealBroken, ValueError):
            found[JobId(job_id)] = orjson.loads(sealer.open(output, tenant_id, "results.output", JobId(job_id)))
    return found


async def list_ids(
    session: ReadSession, tenant_id: TenantId, wanted: JobFilter, *, before: JobId | None, limit: int
) -> list[JobId]:
    """As `list_jobs`, the ids alone."""
    query = _narrowed(select(col(JobRow.id)), tenant_id, wanted, before)
    return [JobId(job_id) for job_id in await session.exec(query.limit(limit))]


def _narrowed(query: Query, tenant_id: TenantId, wanted: JobFilter, before: JobId | None) -> Query:
    query = query.where(col(JobRow.tenant_id) == tenant_id)
    pairs = [aliased(JobMetadataRow) for _ in wanted.metadata]
    for pair, (key, value) in zip(pairs, wanted.metadata, strict=True):
        query = query.join(
            pair, and_(col(pair.job_id) == col(JobRow.id), col(pair.tenant_id) == col(JobRow.tenant_id))
        ).where(col(pair.tenant_id) == tenant_id, col(pair.key) == key, col(pair.value) == value)
    least, bound = _id_bounds(wanted, before)
    # On one table only: PostgreSQL would take two conditions for a narrower range, and prefer to sort it all.
    job_id = col(pairs[0].job_id) if pairs else col(JobRow.id)
    if least is not None:
        query = query.where(job_id >= least)
    if bound is not None:
        query = query.where(job_id < bound)
    if wanted.states:
        query = query.where(col(JobRow.state).in_([state.value for state in wanted.states]))
    if wanted.model is not None:
        query = query.where(col(JobRow.model) == wanted.model)
    if wanted.created_after is not None:
        query = query.where(_exactly(col(JobRow.created_at) >= wanted.created_after))
    if wanted.created_before is not None:
        query = query.where(_exactly(col(JobRow.created_at) < wanted.created_before))
    return query.order_by(col(JobRow.id).desc())


def _exactly(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    # The range of ids has been counted already; PostgreSQL has no estimate for a coalesce.
    return func.coalesce(condition, true())


def _id_at(moment: datetime | None, *, before: float) -> JobId | None:
    return None if moment is None else JobId(uuid_at(moment, before=before))


def _id_bounds(wanted: JobFilter, before: JobId | None) -> tuple[JobId | None, JobId | None]:
    """Ids sort by time, so a range of time is a range of ids: the lowest, and the one below which all are.

    PostgreSQL's clock makes `created_at`, an API's makes the id, somewhat earlier: the exact condition stays besides.
    """
    least = _id_at(wanted.created_after, before=_CLOCKS_APART_SECONDS)
    bound = _id_at(wanted.created_before, before=-_CLOCKS_APART_SECONDS)
    return least, min((each for each in (before, bound) if each is not None), default=None)


def _readable(row: asyncpg.Record, sealer: Sealer) -> JobRecord | Failed:
    """The job, or why it alone can't be read: the rows of a group are read together, for many tenants."""
    try:
        return _record(row, sealer)
    except (SealBroken, ValueError, TypeError, KeyError) as error:
        name = show_job(JobId(row["id"]))
        # Without its text, which may quote the row.
        log.error("job_unreadable", job_id=name, error=type(error).__name__)  # noqa: TRY400
        return Failed(JobUnreadable(f"{name} can't be read: it was stored with another INFERD_MASTER_KEY, or damaged."))


def _record(row: asyncpg.Record, sealer: Sealer) -> JobRecord:
    job_id, tenant_id, output = JobId(row["id"]), TenantId(row["tenant_id"]), row["output"]
    return from_record(
        JobRecord,
        row,
        request=orjson.loads(sealer.open(row["request"], tenant_id, "jobs.request", job_id)),
        metadata=orjson.loads(row["metadata"]),
        webhook_events=tuple(row["webhook_events"] or ()),
        output=None if output is None else orjson.loads(sealer.open(output, tenant_id, "results.output", job_id)),
        attempts=tuple(from_json(AttemptRecord, each) for each in orjson.loads(row["attempts"] or "[]")),
        deliveries=tuple(from_json(DeliveryRecord, each) for each in orjson.loads(row["deliveries"] or "[]")),
    )
