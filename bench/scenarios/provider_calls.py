"""Durable jobs that call a mock provider through the openai adapter, 200 in flight, against the bare SDK loop."""

from typing import Final

from bench.baselines import openai_loop
from bench.jobs import draft, queue, running_seconds, until_succeeded
from bench.outcome import Row, alternate, at_least
from bench.stack import Bench

_IN_FLIGHT: Final = 200


async def run(bench: Bench) -> list[Row]:
    count = bench.size(800, 50)
    async with openai_loop.provider(bench) as base_url:

        async def work() -> float:
            await bench.reset()
            variables = openai_loop.variables(base_url, _IN_FLIGHT)
            await queue(bench, count, draft("mock/gpt"), provider_url=base_url)
            async with bench.workers(1, **variables):
                await until_succeeded(bench, count)
            return count / await running_seconds(bench)

        async def loop() -> float:
            return count / float((await openai_loop.bare_loop(bench, base_url, count, _IN_FLIGHT))["seconds"])

        rounds = await alternate(bench.rounds, work, loop)
    return [at_least("jobs over the openai path", 1, rounds, of="the bare SDK loop", in_flight=_IN_FLIGHT)]
