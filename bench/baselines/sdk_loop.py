"""The loop that people write: `AsyncOpenAI()`, a semaphore and gather. It stores nothing, so a crash loses everything.

`python -m bench.baselines.sdk_loop BASE_URL COUNT IN_FLIGHT` prints seconds, CPU and peak memory as JSON.
"""

import asyncio
import json
import resource
import sys
from time import perf_counter, process_time

import httpx2
import uvloop
from openai import AsyncOpenAI


async def main(base_url: str, count: int, in_flight: int) -> None:
    limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    # No retries: a repeated call would count once and cost twice.
    async with AsyncOpenAI(
        api_key="none", base_url=base_url, max_retries=0, http_client=httpx2.AsyncClient(limits=limits, timeout=600)
    ) as client:
        waiting = iter(range(count))

        async def caller() -> None:
            for _ in waiting:
                completion = await client.chat.completions.create(
                    model="gpt", messages=[{"role": "user", "content": "Say hello to the reader of this report."}]
                )
                if not completion.choices[0].message.content:
                    raise ValueError("no answer")

        started, cpu = perf_counter(), process_time()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        answer = {
            "seconds": perf_counter() - started,
            "cpu_seconds": process_time() - cpu,
            "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
