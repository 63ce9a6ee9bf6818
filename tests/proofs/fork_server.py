"""Starts processes that die where their order says, one at a time (tests/proofs/dying_process.py)."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.proofs.dying_process import Order
from tests.proofs.edges import EXIT_CODE
from tests.support.folders import open_folder

_ROOT = Path(__file__).parents[2]


@dataclass
class ForkServer:
    """The process that forks."""

    process: Process
    pid: int = 0
    """Of the last one that was started."""
    steps: dict[str, list[str]] = field(default_factory=dict)
    """What a process of each role does for a job, once somebody has looked."""

    async def start(self, order: Order) -> None:
        """It runs when this returns."""
        assert self.process.stdin is not None
        self.process.stdin.write(order.line())
        await self.process.stdin.drain()
        self.pid = int((await self._line())["pid"])

    async def died(self, seconds: float = 10.0) -> bool:
        """Whether it came to the step that it was to die at. One that does not is stopped."""
        answer = asyncio.create_task(self._line())
        done, _ = await asyncio.wait([answer], timeout=seconds)
        if not done:
            os.kill(self.pid, signal.SIGKILL)
        return bool((await answer)["exit"] == EXIT_CODE)

    async def stop(self) -> list[str]:
        """As an orchestrator does. Returns the steps it took."""
        os.kill(self.pid, signal.SIGTERM)
        answer = await self._line()
        assert answer["exit"] == 0, answer
        return list(answer["steps"])

    async def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 20)
        assert line, "the process that starts the others is gone"
        return dict(json.loads(line))


@asynccontextmanager
async def open_fork_server() -> AsyncIterator[ForkServer]:
    """Nothing of it is left at the end."""
    with open_folder() as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.proofs.dying_process",
            stdin=PIPE,
            stdout=PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            yield ForkServer(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
