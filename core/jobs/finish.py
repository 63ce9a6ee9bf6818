"""Stop 7 of 9 · from core/jobs/execute.py · to worker/tasks/deliver_webhook.py

Ends a run: transaction 3. State, result, usage, attempt and webhook rows are one statement, guarded by the run's
number and token; when the job has moved on, nothing of it is written. An answer is never thrown away because
PostgreSQL is away: it is kept, spooled and written when it can be, however late (the guard makes that safe).
"""

import asyncio
from typing import Final

import asyncpg
import orjson
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from core.db.faults import REFUSED_VALUES, STORE_FAULTS
from core.db.grouping import Overloaded
from core.db.session import hot_statement
from core.domain import transitions
from core.domain.inference import InferenceResult
from core.domain.job_state import TERMINAL, Edge, JobState
from core.domain.run_again import DONE, RunAgain, again_in
from core.domain.transitions import Transition
from core.jobs import store
from core.jobs.context import RunContext
from core.jobs.records import Applied, Change, ClaimedJob, RowLocked, Run
from core.observability.metrics import ATTEMPTS, FINISHED, RETRIES, STALE, TOKENS, count

# The same write can never work, with these values.
_REFUSALS: Final = (*REFUSED_VALUES, orjson.JSONEncodeError)

# The same write may work later. A row that it names may have been deleted at this very moment: next time it is gone for
# the whole statement.
_AGAIN: Final = (*STORE_FAULTS, Overloaded, RowLocked, asyncpg.ForeignKeyViolationError)

# A write that takes longer than this may never come back: the answer is put in safety meanwhile.
_PATIENCE_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


async def finish_job(context: RunContext, job: ClaimedJob, transition: Transition) -> RunAgain:
    """Applies the end of a run. Returns when the job runs again."""
    try:
        applied = await _apply(context, job, _change(context, job, transition))
    except _REFUSALS as error:
        # Without its text: PostgreSQL quotes the row that it refuses, and that is the answer.
        log.error("result_refused", error=type(error).__name__)  # noqa: TRY400
        transition = transitions.fail(_REFUSED)
        applied = await _apply(context, job, _change(context, job, transition))
    if applied is None:
        count(STALE, transition.edge.value)
        log.info("run_superseded", edge=transition.edge.value)
        await _note_late_usage(context, job, transition.result)
        return DONE
    _count(job, transition)
    context.enqueuer.publish_change(job.id)
    return again_in(transition.delay or 0.0) if transition.to_state == JobState.QUEUED else DONE


_REFUSED: Final = transitions.Failure(
    "bad_answer",
    "answer_not_storable",
    "The provider answered, but the database refused to store the answer (too large, or not valid text).",
    billed="yes",
)


def _change(context: RunContext, job: ClaimedJob, transition: Transition) -> Change:
    return Change(
        job_id=job.id,
        tenant_id=job.tenant_id,
        transition=transition,
        run_no=job.run_no,
        lease_token=job.lease_token,
        output=None if transition.result is None else _seal(context, job, transition.result),
    )


def _seal(context: RunContext, job: ClaimedJob, result: InferenceResult) -> bytes:
    output = {
        "text": result.text,
        "message": result.message,
        "finish_reason": result.finish_reason,
        "model": result.model,
    }
    return context.sealer.seal(orjson.dumps(output), job.tenant_id, "results.output", job.id)


async def _apply(context: RunContext, job: ClaimedJob, change: Change) -> Applied | None:
    """The guarded write. An answer that PostgreSQL does not take within a moment is spooled while it is tried on."""
    result = change.transition.result
    if result is None:
        return await _write(context, job, change)
    loop, puts = asyncio.get_running_loop(), list["asyncio.Task[None]"]()
    timer = loop.call_later(
        _PATIENCE_SECONDS, lambda: puts.append(loop.create_task(context.spool.put(job, result), name="spool"))
    )
    try:
        applied = await _write(context, job, change)
    finally:
        timer.cancel()
    if applied is not None and (puts or job.follows_lost_run):
        await asyncio.gather(*puts)
        await context.spool.discard(job)
    return applied


async def _write(context: RunContext, job: ClaimedJob, change: Change) -> Applied | None:
    """Tries until PostgreSQL takes or refuses the change."""
    # Nearly every write succeeds at once; what retries it costs as much as half of what a job does besides.
    try:
        return await _submit(context, job, change)
    except _AGAIN as error:
        log.warning("finish_waits_for_store", error=type(error).__name__)
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(_AGAIN),
        wait=wait_random_exponential(multiplier=0.1, max=2.0),
        sleep=asyncio.sleep,
        reraise=True,
    ):
        with attempt:
            return await _submit(context, job, change)
    raise AssertionError("retries without a limit end by an answer or an exception")


async def _submit(context: RunContext, job: ClaimedJob, change: Change) -> Applied | None:
    if change.transition.edge is Edge.SUCCEED and not job.has_listeners:
        applied = await context.group_commit.succeed(change)
        if applied is not None:
            return applied
        # Somebody listens by now, or the job has moved on, or its row is locked.
    return await context.group_commit.apply(change)


async def _note_late_usage(context: RunContext, job: ClaimedJob, result: InferenceResult | None) -> None:
    """The answer came too late to count, but it was paid: keep what it cost on its attempt."""
    if result is None:
        return
    try:
        async with hot_statement(context.database) as connection:
            await store.note_late_usage(connection, Run(job.id, job.tenant_id, job.run_no), result)
    except STORE_FAULTS as error:
        log.warning("late_usage_lost", error=type(error).__name__)


def _count(job: ClaimedJob, transition: Transition) -> None:
    provider = job.model.partition("/")[0]
    outcome = transition.attempt_outcome
    count(ATTEMPTS, provider, outcome.value if outcome else "none")
    if transition.to_state in TERMINAL:
        count(FINISHED, provider, transition.to_state.value)
    elif transition.failure is not None:
        count(RETRIES, provider, transition.failure.error_class)
    if transition.result is not None:
        usage = transition.result.usage
        count(TOKENS, provider, "input", by=usage.input_tokens or 0)
        count(TOKENS, provider, "output", by=usage.output_tokens or 0)
