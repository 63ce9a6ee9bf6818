"""Repairs what was missed: the jobs of dead workers, and passed deadlines.

Run by every worker through worker/tasks/sweep.py. Rows are taken with SKIP LOCKED, so any number of sweeps share the
work. What is due but not in Redis is enqueued by core/jobs/reconcile.py.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import asyncpg
import structlog

from core.db.rows import from_record
from core.db.session import hot_statement, hot_transaction
from core.db.statements import Statement
from core.domain import transitions
from core.domain.ids import JobId, show_job
from core.domain.transitions import Transition
from core.jobs.change import Changed, apply_to, publish
from core.jobs.context import RunContext
from core.jobs.heartbeat import Run
from core.jobs.records import HeldJob
from core.observability.metrics import SWEPT, count

BATCH: Final = 200
_MAX_BYSTANDER_LOSSES: Final = 10
_KEPT_DEAD_SECONDS: Final = 86_400.0

DECLARE_DEAD: Final = Statement("core/jobs/sql/declare_dead.sql")
ADOPT_UNKNOWN_WORKERS: Final = Statement("core/jobs/sql/adopt_unknown_workers.sql")
PRUNE_WORKERS: Final = Statement("core/jobs/sql/prune_workers.sql")
PASSED_DEADLINES: Final = Statement("core/jobs/sql/passed_deadlines.sql")

log = structlog.get_logger(__name__)


class UnheldRun(NamedTuple):
    """A run that PostgreSQL believes this worker to have, which does not know of it."""

    id: JobId
    run_no: int


LOST_RUNS: Final = Statement("core/jobs/sql/lost_runs.sql", UnheldRun)


async def declare_dead(context: RunContext) -> int:
    """Declares workers dead whose lease is over, if this worker may judge. Returns how many."""
    worker = context.leases.worker
    async with hot_statement(context.database) as connection:
        dead = await DECLARE_DEAD.fetch(
            connection, judge_id=worker.id, lease_seconds=worker.lease_seconds, gap_seconds=worker.gap_seconds
        )
        await ADOPT_UNKNOWN_WORKERS.execute(connection)
        await PRUNE_WORKERS.execute(connection, seconds=_KEPT_DEAD_SECONDS, most=BATCH)
    for record in dead:
        log.warning("worker_lost", worker_id=record["id"], alone=record["lost_alone"])
    return len(dead)


async def rescue_jobs(context: RunContext, unheld: Collection[Run] = ()) -> int:
    """Takes back the jobs of dead workers, and the runs of this worker that it does not know of itself.

    Returns how many; BATCH means that there may be more.
    """
    runs = [UnheldRun(*run) for run in unheld]
    async with hot_transaction(context.database, None) as connection:
        records = await LOST_RUNS.fetch(connection, runs, worker_id=context.leases.worker.id, most=BATCH)
        changed = await apply_to(connection, [(from_record(HeldJob, each), _rescue(each)) for each in records])
    _publish(context, changed)
    return len(records)


async def expire_jobs(context: RunContext) -> int:
    """Ends the jobs whose deadline passed. Returns how many; BATCH means that there may be more."""
    async with hot_transaction(context.database, None) as connection:
        records = await PASSED_DEADLINES.fetch(connection, most=BATCH)
        passed = [(from_record(HeldJob, each), transitions.expire()) for each in records]
        changed = await apply_to(connection, passed)
    _publish(context, changed)
    return len(records)


def _rescue(lost: asyncpg.Record) -> Transition:
    return transitions.rescue(
        lost["worker_losses"],
        # A job that was there each time that a worker died is no bystander: it may be what kills them.
        call_went_out=lost["call_went_out"] or lost["bystander_losses"] >= _MAX_BYSTANDER_LOSSES,
        attempts_left=lost["attempts_left"],
        counts=lost["counts"],
    )


def _publish(context: RunContext, changed: Sequence[Changed]) -> None:
    publish(context, changed)
    for each in changed:
        edge, to_state = each.transition.edge.value, each.transition.to_state.value
        count(SWEPT, edge)
        log.info("job_swept", job_id=show_job(each.job.id), edge=edge, to=to_state)
