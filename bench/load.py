"""Two load generators: a closed loop for throughput, and an open loop for latency at a given rate.

The open loop fixes the arrivals before it sends anything, and a latency counts from the arrival, not from when a
connection was free: the wait behind a slow response is included (no coordinated omission).
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from pydantic import JsonValue

from bench.http_client import Answer, Connection, Target, connect


class UnexpectedAnswer(Exception):
    """A measured request got an unexpected response."""


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a load; latencies in milliseconds, sorted."""

    seconds: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def summary(self) -> dict[str, JsonValue]:
        """Returns the figures for a row's details."""
        return {"rate": round(self.rate), **spread(self.latencies)}


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Returns the value that `share` (0 to 1) of the values do not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def spread(sorted_values: Sequence[float]) -> dict[str, JsonValue]:
    """Returns p50 and p99 of milliseconds."""
    return {"p50_ms": round(percentile(sorted_values, 0.5), 2), "p99_ms": round(percentile(sorted_values, 0.99), 2)}


async def closed_loop(
    target: Target, requests: Sequence[bytes], *, connections: int, expect: frozenset[int] = frozenset({200, 202})
) -> Load:
    """Sends all requests; each connection sends the next one as soon as its response has arrived."""
    waiting = iter(requests)
    latencies: list[float] = []

    async def sender(connection: Connection) -> None:
        for request in waiting:
            started = perf_counter()
            check(await connection.send(request), expect)
            latencies.append((perf_counter() - started) * 1000)

    async with connect(target, connections) as opened:
        began = perf_counter()
        await asyncio.gather(*map(sender, opened))
        seconds = perf_counter() - began
    return Load(seconds, sorted(latencies))


def arrivals(rate: float, seconds: float, *, seed: int = 1) -> list[float]:
    """Returns the arrivals of a Poisson process in seconds from the start, the same for the same seed."""
    source = random.Random(seed)  # noqa: S311 - a load is no secret
    times, now = list[float](), 0.0
    while (now := now + source.expovariate(rate)) < seconds:
        times.append(now)
    return times


async def open_loop(
    target: Target,
    requests: Sequence[bytes],
    times: Sequence[float],
    *,
    connections: int,
    expect: frozenset[int] = frozenset({200, 202}),
) -> Load:
    """Sends request i at `times[i]`, or as soon as a connection is free after that."""
    latencies: list[float] = []
    free: asyncio.Queue[Connection] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def exchange(request: bytes, due: float) -> None:
        connection = await free.get()
        check(await connection.send(request), expect)
        free.put_nowait(connection)
        latencies.append((loop.time() - due) * 1000)

    async with connect(target, connections) as opened:
        for connection in opened:
            free.put_nowait(connection)
        began = loop.time() + 0.05
        sent: list[asyncio.Task[None]] = []
        for request, time in zip(requests, times, strict=False):
            await asyncio.sleep(began + time - loop.time())
            sent.append(asyncio.create_task(exchange(request, began + time)))
        await asyncio.gather(*sent)
        seconds = loop.time() - began
    return Load(seconds, sorted(latencies))


def check(answer: Answer, expect: frozenset[int]) -> Answer:
    """Returns the response if its status is one of those. Raises UnexpectedAnswer."""
    if answer.status not in expect:
        raise UnexpectedAnswer(f"{answer.status}: {answer.body[:300].decode(errors='replace')}")
    return answer
