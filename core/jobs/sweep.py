"""Mends what was missed: dead workers' jobs and passed deadlines. Run by every worker through worker/tasks/sweep.py.

Rows are taken with SKIP LOCKED, so any number of sweeps share the work. What is due but not in Redis is rung by
core/jobs/reconcile.py.
"""

from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from core.db.session import hot_transaction
from core.domain import transitions
from core.domain.ids import JobId, TenantId, show_job
from core.domain.job_state import JobState, Priority
from core.domain.transitions import Transition
from core.jobs import store
from core.jobs.change import apply_to, tell
from core.jobs.context import RunContext
from core.jobs.records import HeldJob
from core.observability.metrics import SWEPT, count

BATCH: Final = 200
_MAX_BYSTANDER_LOSSES: Final = 10

log = structlog.get_logger(__name__)


async def rescue_jobs(context: RunContext) -> int:
    """Takes back the jobs whose lease ran out. Answers how many; BATCH means that there may be more."""

    def rescued(record: asyncpg.Record) -> Transition:
        return transitions.rescue(
            record["worker_losses"],
            # Who was there each time that a worker died is no bystander: the job itself may be what kills them.
            call_went_out=record["call_went_out"] or record["bystander_losses"] >= _MAX_BYSTANDER_LOSSES,
            attempts_left=record["attempts_left"],
        )

    return await _mend(context, "expired_leases", rescued)


async def expire_jobs(context: RunContext) -> int:
    """Ends the jobs whose deadline passed. Answers how many; BATCH means that there may be more."""
    return await _mend(context, "passed_deadlines", lambda _: transitions.expire())


async def _mend(context: RunContext, found_by: str, decide: Callable[[asyncpg.Record], Transition]) -> int:
    async with hot_transaction(context.database, None) as connection:
        records = await connection.fetch(store.statement(found_by), BATCH)
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
