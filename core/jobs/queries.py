"""Reading jobs, for one caller and from PostgreSQL always. Called by the routes and core/jobs/group_commit.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
import orjson
import structlog
from pydantic import JsonValue
from sqlalchemy import ColumnElement, Select, and_, func, true
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from core.db.batching import Failed
from core.db.sealed import SealBroken, Sealer
from core.db.session import Connection, ReadSession
from core.db.tables import DeletedJobRow, JobMetadataRow, JobRow
from core.domain.errors import Gone, JobUnreadable, NotFound
from core.domain.ids import DeliveryId, JobId, TenantId, show_job, uuid_at
from core.domain.job_state import JobState, Priority
from core.jobs.records import AttemptRecord, DeliveryRecord, JobRecord
from core.jobs.statements import statement

log = structlog.get_logger(__name__)

# How far the clocks of an API and of PostgreSQL may be apart, with the time that a submit may take.
_CLOCKS_APART_SECONDS: Final = 3600.0

Query = TypeVar("Query", bound="Select[*tuple[Any, ...]]")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list is narrowed to; None or empty means anything."""

    states: tuple[JobState, ...] = ()
    model: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job in a list: everything but its input, its output and its attempts."""

    id: JobId
    state: JobState
    model: str
    metadata: dict[str, JsonValue]
    priority: Priority
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_ms: int | None
    deadline_at: datetime | None
    max_attempts: int
    attempts_used: int
    input_tokens: int | None
    output_tokens: int | None
    error_code: str | None
    error_message: str | None


async def get_many(
    connection: Connection, sealer: Sealer, wanted: Sequence[tuple[JobId, TenantId]]
) -> list[JobRecord | Failed | None]:
    """Each job whole, None where this tenant has no such job, or Failed where a row can't be read."""
    rows = list(dict.fromkeys(wanted))
    records = await connection.fetch(statement("get"), [row[0] for row in rows], [row[1] for row in rows])
    found = {(JobId(record["id"]), TenantId(record["tenant_id"])): record for record in records}
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
) -> list[JobSummary]:
    """The caller's jobs, newest first, from just before the job `before`."""
    columns = (
        JobRow.id, JobRow.state, JobRow.model, JobRow.meta, JobRow.priority, JobRow.created_at, JobRow.run_at,
        JobRow.started_at, JobRow.finished_at, JobRow.queue_ms, JobRow.deadline_at, JobRow.max_attempts,
        JobRow.attempts_used,
        JobRow.input_tokens, JobRow.output_tokens, JobRow.error_code, JobRow.error_message,
    )  # fmt: skip
    query = _narrowed(select(JobRow).with_only_columns(*[col(column) for column in columns]), tenant_id, wanted, before)
    # By the connection: these are rows of some columns, and no JobRow that could be changed.
    rows = (await (await session.connection()).execute(query.limit(limit))).mappings()
    return [_summary(dict(row)) for row in rows]


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
    # Said of one table: PostgreSQL would count a second time what the range leaves, and prefer to sort it all.
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
    # As above: the range of ids has been counted already. PostgreSQL has no estimate for a coalesce.
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


def _summary(row: dict[str, object]) -> JobSummary:
    renamed = {"metadata": row.pop("meta"), "state": JobState(str(row.pop("state")))}
    renamed["priority"] = Priority(str(row.pop("priority")))
    return JobSummary(**row, **renamed)  # type: ignore[arg-type]  # the columns above are the fields


def _readable(row: asyncpg.Record, sealer: Sealer) -> JobRecord | Failed:
    """One row's trouble is no other row's: they are read together, for many tenants."""
    try:
        return _record(row, sealer)
    except (SealBroken, ValueError, TypeError, KeyError) as error:
        name = show_job(JobId(row["id"]))
        # Without its text, which may quote the row.
        log.error("job_unreadable", job_id=name, error=type(error).__name__)  # noqa: TRY400
        return Failed(JobUnreadable(f"{name} can't be read: it was stored with another INFERD_MASTER_KEY, or damaged."))


def _record(row: asyncpg.Record, sealer: Sealer) -> JobRecord:
    job_id, tenant_id = JobId(row["id"]), TenantId(row["tenant_id"])
    output = row["output"]
    return JobRecord(
        id=job_id,
        tenant_id=tenant_id,
        state=JobState(row["state"]),
        version=row["version"],
        model=row["model"],
        request=orjson.loads(sealer.open(row["request"], tenant_id, "jobs.request", job_id)),
        metadata=orjson.loads(row["meta"]),
        priority=Priority(row["priority"]),
        request_id=row["request_id"],
        created_at=row["created_at"],
        run_at=row["run_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        queue_ms=row["queue_ms"],
        deadline_at=row["deadline_at"],
        timeout_seconds=row["timeout_seconds"],
        max_attempts=row["max_attempts"],
        retry_initial_seconds=row["retry_initial_seconds"],
        retry_max_seconds=row["retry_max_seconds"],
        attempts_used=row["attempts_used"],
        webhook_url=row["webhook_url"],
        webhook_events=tuple(row["webhook_events"] or ()),
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        error_class=row["error_class"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        output=None if output is None else orjson.loads(sealer.open(output, tenant_id, "results.output", job_id)),
        attempts=tuple(map(_attempt, orjson.loads(row["attempts"] or "[]"))),
        deliveries=tuple(map(_delivery, orjson.loads(row["deliveries"] or "[]"))),
    )


def _attempt(row: dict[str, Any]) -> AttemptRecord:
    started_at, finished_at = datetime.fromisoformat(row.pop("started_at")), _instant(row.pop("finished_at"))
    return AttemptRecord(**row, started_at=started_at, finished_at=finished_at)


def _delivery(row: dict[str, Any]) -> DeliveryRecord:
    delivery_id = DeliveryId(UUID(row.pop("id")))
    delivered_at, next_attempt_at = _instant(row.pop("delivered_at")), _instant(row.pop("next_attempt_at"))
    return DeliveryRecord(**row, id=delivery_id, delivered_at=delivered_at, next_attempt_at=next_attempt_at)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
