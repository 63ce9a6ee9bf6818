"""Mends what was missed: dead workers' jobs and passed deadlines. Run by every worker through worker/tasks/sweep.py.

Rows are taken with SKIP LOCKED, so any number of sweeps share the work. What is due but not in Redis is enqueued by
core/jobs/reconcile.py.
"""

from collections.abc import Callable, Collection
from typing import Final

import asyncpg
import structlog

from core.db.session import hot_statement, hot_transaction
from core.domain import transitions
from core.domain.ids import JobId, TenantId, show_job
from core.domain.job_state import JobState, Priority
from core.domain.transitions import Transition
from core.jobs.change import apply_to, tell
from core.jobs.context import RunContext
from core.jobs.heartbeat import Run
from core.jobs.records import HeldJob
from core.jobs.statements import statement
from core.observability.metrics import SWEPT, count

BATCH: Final = 200
_MAX_BYSTANDER_LOSSES: Final = 10
_KEPT_DEAD_SECONDS: Final = 86_400.0

log = structlog.get_logger(__name__)


async def declare_dead(context: RunContext) -> int:
    """Declares workers dead whose lease is over, if this worker may judge. Returns how many."""
    worker = context.leases.worker
    async with hot_statement(context.database) as connection:
        dead = await connection.fetch(statement("declare_dead"), worker.id, worker.lease_seconds, worker.gap_seconds)
        await connection.execute(statement("adopt_unknown_workers"))
        await connection.execute(statement("prune_workers"), _KEPT_DEAD_SECONDS, BATCH)
    for record in dead:
        log.warning("worker_lost", worker_id=record["id"], alone=record["lost_alone"])
    return len(dead)


async def rescue_jobs(context: RunContext, unheld: Collection[Run] = ()) -> int:
    """Takes back the jobs of dead workers, and the runs of this worker that it does not know of itself.

    Returns how many; BATCH means that there may be more.
    """
    runs = list(unheld)
    arguments = ([job_id for job_id, _ in runs], [run_no for _, run_no in runs], context.leases.worker.id)

    def rescued(record: asyncpg.Record) -> Transition:
        return transitions.rescue(
            record["worker_losses"],
            # Who was there each time that a worker died is no bystander: the job itself may be what kills them.
            call_went_out=record["call_went_out"] or record["bystander_losses"] >= _MAX_BYSTANDER_LOSSES,
            attempts_left=record["attempts_left"],
            counts=record["counts"],
        )

    return await _mend(context, "lost_runs", rescued, *arguments)


async def expire_jobs(context: RunContext) -> int:
    """Ends the jobs whose deadline passed. Answers how many; BATCH means that there may be more."""
    return await _mend(context, "passed_deadlines", lambda _: transitions.expire())


async def _mend(
    context: RunContext, found_by: str, decide: Callable[[asyncpg.Record], Transition], *arguments: object
) -> int:
    async with hot_transaction(context.database, None) as connection:
        records = await connection.fetch(statement(found_by), BATCH, *arguments)
        changed = await apply_to(context, connection, [(_held(record), decide(record)) for record in records])
    tell(context, changed)
    for each in changed:
        edge, to_state = each.transition.edge.value, each.transition.to_state.value
        count(SWEPT, edge)
        log.info("job_swept", job_id=show_job(each.job.id), edge=edge, to=to_state)
    return len(records)


def _held(record: asyncpg.Record) -> HeldJob:
    return HeldJob(
        id=JobId(record["id"]),
        tenant_id=TenantId(record["tenant_id"]),
        state=JobState(record["state"]),
        version=record["version"],
        model=record["model"],
        run_no=record["run_no"],
        priority=Priority(record["priority"]),
    )
