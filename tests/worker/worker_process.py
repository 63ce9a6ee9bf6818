"""`worker.main` as a process of its own: to be killed, stopped, continued and told to stop."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from core.settings import Settings
from tests.support.explicit_settings import environment_of
from tests.support.folders import open_folder
from tests.support.forked import Forked, fork


@dataclass(frozen=True)
class WorkerProcess:
    """One worker; `kill` and `pause` are what no process can do anything about."""

    process: Forked

    def owns(self, worker_id: str | None) -> bool:
        """Whether a row's `worker_id` is this process's."""
        return worker_id is not None and f"-{self.process.pid}-" in worker_id

    async def kill(self) -> None:
        self.process.kill()
        await self.ended()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def terminate(self) -> int:
        """As an orchestrator's rolling update does. Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """The exit code, when it has ended."""
        return await asyncio.to_thread(self.process.wait)


def start_worker(settings: Settings, folder: Path) -> WorkerProcess:
    """`folder` is where it runs; it must have no .env. It is ready when it claims."""
    environment = {**os.environ, **environment_of(settings), "INFERD_LOG_FORMAT": "console"}
    return WorkerProcess(fork("worker.main", environment, folder))


@asynccontextmanager
async def run_process(settings: Settings) -> AsyncIterator[WorkerProcess]:
    """Killed at the end, if it still is."""
    with open_folder() as folder:
        worker = start_worker(settings, folder)
        try:
            yield worker
        finally:
            await worker.kill()
