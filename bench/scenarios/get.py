"""Read a finished job by id, with 64 connections to one API process, against the app that tutorials write."""

from typing import Final

from bench.baselines import naive
from bench.http_client import Target, connect
from bench.jobs import until_succeeded
from bench.load import arrivals, closed_loop, open_loop
from bench.outcome import Row, alternate, at_least
from bench.stack import Bench

_CONNECTIONS: Final = 64
_JOBS: Final = 500
_OPEN_SECONDS: Final = 3
_BODY: Final = {"model": "echo/echo", "input": "Say hello to the reader of this report."}


async def run(bench: Bench) -> list[Row]:
    await bench.reset()
    count = bench.size(2000, 20)
    async with bench.api() as (ours, _), naive.serve(bench) as theirs:
        async with bench.workers():
            ids = await _submitted(ours, "/v1/jobs", bench.size(_JOBS, 10))
            await until_succeeded(bench, len(ids))
        await naive.reset(bench)
        their_ids = await _submitted(theirs, "/jobs", len(ids))
        await naive.finish_all(bench)
        requests = _reads(ours, "/v1/jobs", ids, count)
        their_requests = _reads(theirs, "/jobs", their_ids, count)

        async def get() -> float:
            return (await closed_loop(ours, requests, connections=_CONNECTIONS)).rate

        async def get_naively() -> float:
            return (await closed_loop(theirs, their_requests, connections=_CONNECTIONS)).rate

        await get(), await get_naively()
        rounds = await alternate(bench.rounds, get, get_naively)
        times = arrivals(min(rounds.ours) / 2, bench.size(_OPEN_SECONDS, 1))
        load = await open_loop(ours, _reads(ours, "/v1/jobs", ids, len(times)), times, connections=_CONNECTIONS)
    return [at_least("get", 5, rounds, of="the naive app", connections=_CONNECTIONS, open_loop=load.summary())]


async def _submitted(target: Target, path: str, count: int) -> list[str]:
    async with connect(target, 1) as (connection,):
        request = target.request("POST", path, _BODY)
        return [str((await connection.send(request)).json()["id"]) for _ in range(count)]


def _reads(target: Target, path: str, ids: list[str], count: int) -> list[bytes]:
    return [target.request("GET", f"{path}/{ids[number % len(ids)]}") for number in range(count)]
