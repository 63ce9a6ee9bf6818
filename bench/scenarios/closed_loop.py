"""Submit → result with everything on two cores (API, worker, stores and clients), against procrastinate.

Singles: 64 clients; each submits with `Prefer: wait` and gets the result before it submits again. Bulk: requests of
1,000 jobs, until the last result is committed. procrastinate is measured from its first defer to its last success, and
its clients never wait for a result.
"""

from datetime import UTC, datetime
from typing import Final

from bench.baselines import procrastinate
from bench.baselines.procrastinate import Peer
from bench.http_client import Target
from bench.jobs import until_succeeded
from bench.load import closed_loop
from bench.outcome import Measure, Row, alternate, at_least
from bench.stack import Bench

_CLIENTS: Final = 64
_BULK_CLIENTS: Final = 4
_LINES: Final = 1000
_SLOTS: Final = 1000
_JOB: Final = {"model": "echo/echo", "input": "Say hello to the reader of this report."}
# 202 would mean that there was no result within the wait.
_ENDED: Final = frozenset({200})


async def run(bench: Bench) -> list[Row]:
    singles, batches = bench.size(1000, 64), bench.size(4, 1)
    lines = bench.size(_LINES, 50)
    async with (
        procrastinate.open_peer(bench) as peer,
        bench.api() as (target, _),
        bench.workers(INFERD_WORKER_CONCURRENCY=str(_SLOTS)),
    ):
        rows = []
        for name, factor, ours, theirs in (
            (
                "submit → result, single submits",
                4,
                _singles(bench, target, singles),
                _theirs(peer, singles, batch=1, tasks=_CLIENTS),
            ),
            (
                "submit → result, bulk submits",
                10,
                _bulk(bench, target, batches, lines),
                _theirs(peer, bench.size(_LINES, 50), batch=bench.size(_LINES, 50), tasks=_BULK_CLIENTS),
            ),
        ):
            await ours()
            rows.append(at_least(name, factor, await alternate(bench.rounds, ours, theirs), of="procrastinate"))
    return rows


def _singles(bench: Bench, target: Target, count: int) -> Measure:
    request = target.request("POST", "/v1/jobs", _JOB, prefer="wait=30")

    async def measure() -> float:
        await bench.reset()
        return (await closed_loop(target, [request] * count, connections=_CLIENTS, expect=_ENDED)).rate

    return measure


def _bulk(bench: Bench, target: Target, requests: int, lines: int) -> Measure:
    request = target.request("POST", "/v1/jobs/bulk", {"jobs": [_JOB] * lines})

    async def measure() -> float:
        await bench.reset()
        began = datetime.now(UTC)
        await closed_loop(target, [request] * requests, connections=_BULK_CLIENTS)
        await until_succeeded(bench, requests * lines)
        ended: datetime = await bench.owner.fetchval("SELECT max(finished_at) FROM jobs")
        return requests * lines / (ended - began).total_seconds()

    return measure


def _theirs(peer: Peer | None, count: int, *, batch: int, tasks: int) -> Measure | None:
    return None if peer is None else lambda: peer.defer_and_work(count, batch=batch, tasks=tasks)
