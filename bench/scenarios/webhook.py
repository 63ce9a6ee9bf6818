"""From a job's end until its webhook arrives, without load: one job at a time; the receiver is this process.

A job ends when the transaction that stores its result begins (`finished_at`), so the figure includes its commit. The
reference is an app on stock arq whose task enqueues a second one, which sends.
"""

from asyncio import sleep
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import orjson

from bench.baselines import stock_arq
from bench.http_client import Target, connect
from bench.http_server import answer, serve
from bench.load import percentile, spread
from bench.outcome import Row
from bench.stack import Bench
from core.domain.ids import JobId, show_job

_TARGET_P50_MS: Final = 5.0
_PAUSE_SECONDS: Final = 0.03
_WARM_UP: Final = 5
_ALLOWED: Final = {"INFERD_WEBHOOK_ALLOW_HTTP": "true", "INFERD_WEBHOOK_ALLOW_CIDRS": '["127.0.0.0/8"]'}


async def run(bench: Bench) -> list[Row]:
    count = bench.size(40, 10)
    ours: list[float] = []
    theirs: list[float] = []
    arrived_at: dict[str, float] = {}

    def receiver(_head: bytes, body: bytes) -> bytes:
        now = datetime.now(UTC).timestamp()
        arrived_at.setdefault(str(orjson.loads(body)["data"]["id"]), now)
        return answer(b"", status="204 No Content")

    async with serve(receiver) as port, bench.api(**_ALLOWED) as (target, _), bench.workers(1, **_ALLOWED):
        for _ in range(bench.rounds):
            await bench.reset()
            ours += await _deliveries(bench, target, f"http://127.0.0.1:{port}/hook", count, arrived_at)
            theirs += await stock_arq.dispatch(bench, [_PAUSE_SECONDS] * count)
    return [_row(sorted(ours), sorted(theirs))]


async def _deliveries(bench: Bench, target: Target, url: str, count: int, arrived_at: dict[str, float]) -> list[float]:
    async with connect(target, 1) as (connection,):
        request = target.request("POST", "/v1/jobs", {"model": "echo/echo", "input": "Hello", "webhook": {"url": url}})
        names = []
        for _ in range(_WARM_UP + count):
            await sleep(_PAUSE_SECONDS)
            names.append(str((await connection.send(request)).json()["id"]))
        while not set(names) <= arrived_at.keys():
            await sleep(0.05)
    rows = await bench.owner.fetch("SELECT id, extract(epoch FROM finished_at)::float8 AS ended FROM jobs")
    ended_at = {show_job(JobId(UUID(bytes=row["id"].bytes))): float(row["ended"]) for row in rows}
    return [(arrived_at[name] - ended_at[name]) * 1000 for name in names[_WARM_UP:]]


def _row(ours: list[float], theirs: list[float]) -> Row:
    p50 = percentile(ours, 0.5)
    return Row(
        name="finish → webhook sent, idle",
        target=f"p50 ≤ {_TARGET_P50_MS:g} ms",
        reference=f"a second stock arq task {percentile(theirs, 0.5):.1f} / {percentile(theirs, 0.99):.1f} ms",
        result=f"{p50:.1f} / {percentile(ours, 0.99):.1f} ms",
        ratio=round(percentile(theirs, 0.5) / p50, 2),
        met=p50 <= _TARGET_P50_MS,
        details={"ours": spread(ours), "reference": spread(theirs)},
    )
