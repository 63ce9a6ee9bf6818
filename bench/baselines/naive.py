"""Starts the naive app and its database for the scenarios that are compared with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from bench.http_client import Target
from bench.process import start
from bench.stack import Bench, accepts
from core.db.engine import sqlalchemy_url
from local.embedded.processes import wait_for_first
from local.processes import free_port

_READY_SECONDS: Final = 60.0


@asynccontextmanager
async def serve(bench: Bench) -> AsyncIterator[Target]:
    """Runs the naive app on uvicorn, as `uvicorn naive_api:app` does."""
    port = free_port("127.0.0.1")
    environment = bench.environment(
        {
            "DATABASE_URL": sqlalchemy_url(bench.owner_url).render_as_string(hide_password=False),
            "REDIS_URL": bench.other_redis_url,
        }
    )
    async with start("naive", ["bench.baselines.naive_api", str(port)], environment, bench.folder) as process:
        await wait_for_first(process.child, lambda: accepts(port), _READY_SECONDS)
        yield Target("127.0.0.1", port, {})


async def reset(bench: Bench) -> None:
    """Empties the table and the queue."""
    await bench.owner.execute("TRUNCATE naive_jobs")
    await bench.reset_redis()


async def finish_all(bench: Bench) -> None:
    """Gives every job the result that a worker would have written."""
    await bench.owner.execute(
        """
        UPDATE naive_jobs SET status = 'succeeded',
            result = '{"text": "Say hello to the reader of this report.", "usage": {"prompt_tokens": 8}}'
        """
    )
