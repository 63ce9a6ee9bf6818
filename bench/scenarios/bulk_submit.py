"""1,000 jobs in one request, with a result for each line, against procrastinate's `batch_defer` of 1,000."""

from typing import Final

from bench.baselines import procrastinate
from bench.baselines.procrastinate import Peer
from bench.load import closed_loop
from bench.outcome import Measure, Row, alternate, at_least
from bench.stack import Bench

_LINES: Final = 1000
# Concurrent requests, or batch_defer calls: one is parsed while another is committed.
_CONNECTIONS: Final = 4
_LINE: Final = {"model": "echo/echo", "input": "Say hello to the reader of this report."}


async def run(bench: Bench) -> list[Row]:
    requests = bench.size(10, 4)
    lines = bench.size(_LINES, 50)
    async with bench.api() as (target, _), procrastinate.open_peer(bench) as peer:
        request = target.request("POST", "/v1/jobs/bulk", {"jobs": [_LINE] * lines})

        async def submit() -> float:
            await bench.reset()
            load = await closed_loop(target, [request] * requests, connections=_CONNECTIONS)
            return load.rate * lines

        def defer(peer: Peer) -> Measure:
            return lambda: peer.defer_batches(requests, lines, _CONNECTIONS)

        await submit()
        rounds = await alternate(bench.rounds, submit, None if peer is None else defer(peer))
    return [at_least("bulk submit", 1.3, rounds, of="procrastinate's in-process batch defer", lines=lines)]
