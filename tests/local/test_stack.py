"""One part that dies is enough: it is named, and the work that needed it is ended."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from core.queue.connect import connect
from core.settings import Settings
from local.embedded.errors import ServerDied
from local.embedded.processes import Child, Program
from local.embedded.reset import reset
from local.embedded.supervisor import run_embedded
from local.plan import Plan
from local.stack import Stack
from tests.support.folders import open_folder


@pytest.fixture
async def stack(shared_settings: Settings) -> AsyncIterator[Stack]:
    """A real Valkey, and a child that stands where the API would."""
    with open_folder() as folder:
        async with run_embedded(folder, with_model=False, with_postgres=False) as servers:
            child = Child(
                Program(
                    name="The API",
                    command=[sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"],
                    folder=folder,
                    log=folder / "api.log",
                    stop_signals=((signal.SIGTERM, 2.0),),
                    environment={},
                )
            )
            plan = Plan(shared_settings, {}, folder, "127.0.0.1", 1)
            yield Stack(plan, servers, "http://127.0.0.1:1", "key", folder, (child,))
            await child.stop()
        reset(folder)


async def test_work_that_ends_first_is_answered(stack: Stack) -> None:
    async def work() -> str:
        return "done"

    assert await stack.while_alive(work()) == "done"


async def test_a_child_that_dies_ends_the_work_and_is_named(stack: Stack) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            os.kill(stack.children[0].pid, signal.SIGKILL)
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ServerDied, match="The API was killed by signal 9"):
        await asyncio.wait_for(stack.while_alive(work()), 10)
    assert ended.is_set()


async def test_a_server_that_dies_is_named(stack: Stack, settings: Settings) -> None:
    url = SecretStr(str(stack.servers.redis_url))
    redis = connect(settings.redis.model_copy(update={"url": url}))
    os.kill((await redis.info("server"))["process_id"], signal.SIGKILL)
    await redis.aclose(close_connection_pool=True)
    with pytest.raises(ServerDied, match="Valkey was killed by signal 9"):
        await asyncio.wait_for(stack.failure(), 10)
