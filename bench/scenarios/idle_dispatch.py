"""Idle dispatch: from the 202, when the job is committed, until the call arrives at its provider; against stock arq.

One job at a time, with a pause before each, and some with a pause of ten seconds, after which caches and connections
may have gone cold. The provider is this process, so both times are from one clock.
"""

import random
from asyncio import sleep
from contextlib import AsyncExitStack
from time import monotonic
from typing import Final

import orjson

from bench.baselines import stock_arq
from bench.baselines.mock_provider import BODY
from bench.http_client import Target, connect
from bench.http_server import answer, serve
from bench.load import percentile, spread
from bench.outcome import Row
from bench.stack import Bench

_TARGET_P50_MS: Final = 4.0
_TARGET_P99_MS: Final = 10.0
_LONG_PAUSE_SECONDS: Final = 10.0
_JOB: Final = {"model": "mock/gpt", "input": "Say hello to the reader of this report."}


async def run(bench: Bench) -> list[Row]:
    pauses = _pauses(bench.size(40, 10))
    ours: list[float] = []
    theirs: list[float] = []
    p50s: list[tuple[float, float]] = []
    called_at: dict[str, float] = {}

    def provider(head: bytes, _body: bytes) -> bytes:
        _, _, rest = head.partition(b"x-inferd-job-id: ")
        called_at.setdefault(rest[: rest.find(b"\r\n")].decode(), monotonic())
        return answer(BODY)

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serve(provider))
        providers = orjson.dumps({"mock": {"base_url": f"http://127.0.0.1:{port}/v1"}}).decode()
        target, _ = await stack.enter_async_context(bench.api(INFERD_PROVIDERS=providers))
        await stack.enter_async_context(bench.workers(INFERD_PROVIDERS=providers))
        for _ in range(bench.rounds):
            await bench.reset()
            latencies = await _dispatch(target, pauses, called_at)
            reference = sorted(await stock_arq.dispatch(bench, pauses))
            p50s.append((percentile(latencies, 0.5), percentile(reference, 0.5)))
            ours += latencies
            theirs += reference
        await bench.reset()
        rare = await _dispatch(target, [bench.size(10, 1) / 10 * _LONG_PAUSE_SECONDS] * bench.size(7, 1), called_at)
    return [_row(sorted(ours), sorted(theirs), p50s), _rare_row(rare)]


async def _dispatch(target: Target, pauses: list[float], called_at: dict[str, float]) -> list[float]:
    committed_at: dict[str, float] = {}
    async with connect(target, 1) as (connection,):
        request = target.request("POST", "/v1/jobs", _JOB)
        for pause in [0.1] * 5 + pauses:
            await sleep(pause)
            accepted = await connection.send(request)
            now = monotonic()
            committed_at[str(accepted.json()["id"])] = now
        while not committed_at.keys() <= called_at.keys():
            await sleep(0.05)
    # The first jobs open connections and prepare statements.
    measured = list(committed_at)[5:]
    return sorted((called_at[job] - committed_at[job]) * 1000 for job in measured)


def _pauses(count: int) -> list[float]:
    """Returns uneven pauses, so that they do not coincide with a timer of the worker."""
    source = random.Random(1)  # noqa: S311 - a load is no secret
    return [source.uniform(0.015, 0.05) for _ in range(count)]


def _row(ours: list[float], theirs: list[float], p50s: list[tuple[float, float]]) -> Row:
    p50, p99 = percentile(ours, 0.5), percentile(ours, 0.99)
    return Row(
        name="idle dispatch",
        target=f"p50 ≤ {_TARGET_P50_MS:g} ms, p99 ≤ {_TARGET_P99_MS:g} ms",
        reference=f"stock arq {percentile(theirs, 0.5):.1f} / {percentile(theirs, 0.99):.1f} ms",
        result=f"{p50:.1f} / {p99:.1f} ms",
        ratio=round(percentile(theirs, 0.5) / p50, 2),
        met=p50 <= _TARGET_P50_MS and p99 <= _TARGET_P99_MS,
        details={
            "ours": spread(ours),
            "reference": spread(theirs),
            "p50_ms_each_round": [[round(a, 2), round(b, 2)] for a, b in p50s],
        },
    )


def _rare_row(ours: list[float]) -> Row:
    p50 = percentile(ours, 0.5)
    return Row(
        name=f"dispatch after {_LONG_PAUSE_SECONDS:g} s of idleness",
        target=f"p50 ≤ {_TARGET_P50_MS:g} ms",
        reference="–",
        result=f"{p50:.1f} ms, worst of {len(ours)} {ours[-1]:.1f} ms",
        ratio=None,
        met=p50 <= _TARGET_P50_MS,
        details={"ours": [round(each, 2) for each in ours]},
    )
