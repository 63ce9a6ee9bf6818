"""Submit with 64 connections to one API process, durable before the 202, against the app that tutorials write."""

from typing import Final

from pydantic import JsonValue

from bench.baselines import naive
from bench.http_client import Target
from bench.load import arrivals, closed_loop, open_loop
from bench.outcome import Row, alternate, at_least
from bench.stack import Bench

_CONNECTIONS: Final = 64
_BODY: Final = {
    "model": "echo/echo",
    "input": "Say hello to the reader of this report.",
    "params": {"temperature": 0.2},
}
_OPEN_SECONDS: Final = 3


async def run(bench: Bench) -> list[Row]:
    async with bench.api() as (ours, _), naive.serve(bench) as theirs:
        requests = bench.size(1000, 20)

        async def submit() -> float:
            await bench.reset()
            return await _rate(ours, "/v1/jobs", requests)

        async def submit_naively() -> float:
            await naive.reset(bench)
            return await _rate(theirs, "/jobs", requests)

        await submit(), await submit_naively()
        rounds = await alternate(bench.rounds, submit, submit_naively)
        latencies = await _at_half_load(bench, ours, min(rounds.ours) / 2)
    return [at_least("submit", 7, rounds, of="the naive app", connections=_CONNECTIONS, open_loop=latencies)]


async def _rate(target: Target, path: str, count: int) -> float:
    return (await closed_loop(target, [target.request("POST", path, _BODY)] * count, connections=_CONNECTIONS)).rate


async def _at_half_load(bench: Bench, target: Target, rate: float) -> dict[str, JsonValue]:
    """Returns the latencies of submits while the API is at half load."""
    await bench.reset()
    times = arrivals(rate, bench.size(_OPEN_SECONDS, 1))
    requests = [target.request("POST", "/v1/jobs", _BODY)] * len(times)
    return (await open_loop(target, requests, times, connections=_CONNECTIONS)).summary()
