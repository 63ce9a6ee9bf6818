"""1,000,000 queued and 5,000,000 finished jobs: claim, list, get and sweep must cost the same as with 10,000 rows.

It runs the product's statements in turns on two databases of one server, and rolls back the claims. bench/seed.py
inserts the rows; no jobs are run for them.
"""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from statistics import median
from time import perf_counter
from typing import Final
from uuid import UUID

import asyncpg

from bench.load import percentile
from bench.outcome import Row
from bench.seed import fill
from bench.stack import Bench, make_tenants
from core.db.engine import Database, open_database
from core.db.sealed import make_sealer
from core.db.session import hot_transaction, reading
from core.domain.ids import JobId, TenantId
from core.jobs import queries, store
from core.jobs.queries import JobFilter
from core.jobs.reconcile import DUE
from core.jobs.records import JobKey
from core.jobs.sweep import LOST_RUNS, PASSED_DEADLINES
from core.settings import DatabaseSettings

_TARGET_RATIO: Final = 1.5
_SMALL: Final = 10_000
_TENANTS: Final = 50
_CLAIMED_AT_ONCE: Final = 20
# Only a worker with a living lease claims.
_BENCH_WORKER: Final = """
INSERT INTO workers (id, lease_expires_at) VALUES ('bench', now() + interval '1 hour') ON CONFLICT DO NOTHING
"""
_SWEEP_WINDOW: Final = 1000
_WARM_UP: Final = 10
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SAMPLE: Final = "SELECT id, tenant_id FROM jobs WHERE state = $1 ORDER BY id DESC LIMIT 2000"

Operation = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Filled:
    """A database with jobs, with the connections of a worker and of an API."""

    fleet: Database
    api: Database
    queued: Sequence[tuple[JobId, TenantId]]
    finished: Sequence[tuple[JobId, TenantId]]

    def operations(self, source: Random) -> Mapping[str, Operation]:
        return {
            "claim": lambda: self._claim(source.sample(self.queued, min(_CLAIMED_AT_ONCE, len(self.queued)))),
            "list": lambda: self._list(source.choice(self.finished)[1]),
            "get": lambda: self._get(source.choice(self.finished)),
            "sweep": self._sweep,
        }

    async def _claim(self, jobs: Sequence[tuple[JobId, TenantId]]) -> None:
        async with self.fleet.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(_BENCH_WORKER)
            await store.claim(connection, [job_id for job_id, _ in jobs], worker_id="bench")
            await transaction.rollback()

    async def _list(self, tenant_id: TenantId) -> None:
        async with reading(self.api, tenant_id) as session:
            await queries.list_jobs(session, tenant_id, JobFilter(), before=None, limit=20)

    async def _get(self, job: tuple[JobId, TenantId]) -> None:
        async with hot_transaction(self.api, [job[1]]) as connection:
            await queries.get_many(connection, make_sealer(None), [JobKey(*job)])

    async def _sweep(self) -> None:
        async with hot_transaction(self.fleet, None) as connection:
            await LOST_RUNS.fetch(connection, most=_SWEEP_WINDOW, worker_id="")
            await PASSED_DEADLINES.fetch(connection, most=_SWEEP_WINDOW)
            await DUE.fetch(connection, lane="standard", most=_SWEEP_WINDOW, after_time=_EPOCH, after_id=UUID(int=0))


async def run(bench: Bench) -> list[Row]:
    queued = bench.size(1_000_000, 1000)
    samples = bench.size(100, 5)
    small = bench.size(_SMALL, 600)
    async with (
        _filled(bench, "small", queued=small // 6, finished=small - small // 6) as few,
        _filled(bench, "big", queued=queued, finished=5 * queued) as many,
    ):
        gc.collect()
        gc.freeze()
        p99: dict[str, tuple[list[float], list[float]]] = {}
        for number in range(bench.rounds):
            source = Random(number)  # noqa: S311 - a load is no secret
            pairs = zip(few.operations(source).items(), many.operations(source).values(), strict=True)
            for (name, on_few), on_many in pairs:
                times = await _alternated(on_few, on_many, samples)
                for index, each in enumerate(times):
                    p99.setdefault(name, ([], []))[index].append(percentile(sorted(each), 0.99))
    return [_row(name, reference, ours, 6 * queued) for name, (reference, ours) in p99.items()]


async def _alternated(first: Operation, second: Operation, samples: int) -> tuple[list[float], list[float]]:
    """Returns the milliseconds of both, measured in turns, so that disturbances of the machine affect both."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(_WARM_UP + samples):
        for index, operation in enumerate((first, second)):
            began = perf_counter()
            await operation()
            if number >= _WARM_UP:
                times[index].append((perf_counter() - began) * 1000)
    return times


@asynccontextmanager
async def _filled(bench: Bench, name: str, *, queued: int, finished: int) -> AsyncIterator[_Filled]:
    async with bench.database(f"bench_{name}", migrated=True) as settings:
        tenants = await make_tenants(bench.settings.model_copy(update={"database": settings}), _TENANTS)
        owner = await asyncpg.connect((settings.owner_url or settings.url).get_secret_value())
        try:
            await fill(owner, [tenant.id for tenant in tenants], queued=queued, finished=finished)
            sampled = {
                state: [(JobId(row["id"]), TenantId(row["tenant_id"])) for row in await owner.fetch(_SAMPLE, state)]
                for state in ("queued", "succeeded")
            }
        finally:
            await owner.close()
        async with _opened(settings, fleet=True) as fleet, _opened(settings, fleet=False) as api:
            yield _Filled(fleet, api, sampled["queued"], sampled["succeeded"])


def _row(name: str, reference: Sequence[float], ours: Sequence[float], rows: int) -> Row:
    ratio = median(ours) / median(reference)
    return Row(
        name=f"{name} with {rows:,} jobs",
        target=f"p99 ≤ {_TARGET_RATIO:g}× that with {_SMALL:,}",
        reference=f"{median(reference):.2f} ms",
        result=f"{median(ours):.2f} ms",
        ratio=round(ratio, 2),
        met=ratio <= _TARGET_RATIO,
        details={"ours": [round(each, 3) for each in ours], "reference": [round(each, 3) for each in reference]},
    )


@asynccontextmanager
async def _opened(settings: DatabaseSettings, *, fleet: bool) -> AsyncIterator[Database]:
    async with await open_database(settings, name="bench", fleet=fleet) as database:
        yield database
