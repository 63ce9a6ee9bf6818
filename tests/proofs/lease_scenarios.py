"""As guard_scenarios.py, for the guards of a worker's lease: who may claim, and who may declare whom dead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from core.jobs.sweep import declare_dead
from core.jobs.worker_lease import WorkerLease
from tests.proofs.guard_stage import GuardStage


async def a_dead_worker_stays_dead(stage: GuardStage) -> None:
    async with _another_worker(stage) as worker:
        dead = worker.id
        await stage.owner.execute("UPDATE workers SET dead_at = now() WHERE id = $1", dead)
        await worker.renew()
        assert worker.id != dead


async def a_worker_without_a_lease_claims_nothing(stage: GuardStage) -> None:
    job_id = await stage.submit()
    await stage.owner.execute("UPDATE workers SET lease_expires_at = now() WHERE id = $1", _worker(stage).id)
    try:
        assert await stage.claim(job_id) is None
    finally:
        await _worker(stage).renew()


async def nobody_is_declared_dead_by_who_was_away_as_well(stage: GuardStage) -> None:
    """PostgreSQL stood still for all: the first to come back finds every other lease over."""
    async with _another_worker(stage) as silent:
        await _is_silent(stage, silent.id)
        await _has_been_steady(stage, "1 s")
        await declare_dead(stage.worker.jobs)
        assert await _is_alive(stage, silent.id)


async def nobody_is_declared_dead_by_who_has_not_renewed_since(stage: GuardStage) -> None:
    """It was answered for long, but not since: PostgreSQL may have stood still until this very statement."""
    async with _another_worker(stage) as silent:
        await _is_silent(stage, silent.id)
        await _has_been_steady(stage, "3 hours", renewed_ago="2 hours")
        await declare_dead(stage.worker.jobs)
        assert await _is_alive(stage, silent.id)


async def a_worker_within_its_lease_is_not_declared_dead(stage: GuardStage) -> None:
    async with _another_worker(stage) as other:
        await _has_been_steady(stage, "3 hours")
        await declare_dead(stage.worker.jobs)
        assert await _is_alive(stage, other.id)


def _worker(stage: GuardStage) -> WorkerLease:
    return stage.worker.jobs.leases.worker


@asynccontextmanager
async def _another_worker(stage: GuardStage) -> AsyncIterator[WorkerLease]:
    mine = _worker(stage)
    other = replace(mine, name="other", id="", connection=replace(mine.connection, _connection=None))
    await other.register()
    try:
        yield other
    finally:
        await other.leave()
        await _has_been_steady(stage, "0 s")


async def _is_silent(stage: GuardStage, worker_id: str) -> None:
    await stage.owner.execute(
        "UPDATE workers SET lease_expires_at = now() - interval '1 s', renewed_at = now() - interval '1 hour'"
        " WHERE id = $1",
        worker_id,
    )


async def _is_alive(stage: GuardStage, worker_id: str) -> bool:
    return bool(await stage.owner.fetchval("SELECT dead_at IS NULL FROM workers WHERE id = $1", worker_id))


async def _has_been_steady(stage: GuardStage, for_: str, *, renewed_ago: str = "0 s") -> None:
    """The stage's own worker, which judges."""
    await stage.owner.execute(
        f"UPDATE workers SET steady_since = now() - interval '{for_}', renewed_at = now() - interval '{renewed_ago}'"
        " WHERE id = $1",
        _worker(stage).id,
    )
