"""Runs the mock provider, and the bare SDK loop against it, for the scenarios that call a provider."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from bench.process import run, start
from bench.stack import Bench, accepts
from local.embedded.processes import wait_for_first
from local.processes import free_port

_READY_SECONDS: Final = 30.0


@asynccontextmanager
async def provider(bench: Bench, *, delay: float = 0.0) -> AsyncIterator[str]:
    """Starts a mock provider; yields its base URL."""
    port = free_port("127.0.0.1")
    module = ["bench.baselines.mock_provider", str(port), str(delay)]
    async with start("provider", module, bench.environment({}), bench.folder) as process:
        await wait_for_first(process.child, lambda: accepts(port), _READY_SECONDS)
        yield f"http://127.0.0.1:{port}/v1"


def variables(base_url: str, in_flight: int) -> dict[str, str]:
    """Returns the environment with which a worker calls it as `mock/…`, with this concurrency."""
    providers = {"mock": {"base_url": base_url, "concurrency": in_flight}}
    return {"INFERD_PROVIDERS": orjson.dumps(providers).decode(), "INFERD_WORKER_CONCURRENCY": str(in_flight)}


async def bare_loop(bench: Bench, base_url: str, count: int, in_flight: int) -> Any:
    """Runs sdk_loop.py for `count` calls; returns what it prints."""
    module = ["bench.baselines.sdk_loop", base_url, str(count), str(in_flight)]
    return await run("sdk-loop", module, bench.environment({}), bench.folder)
