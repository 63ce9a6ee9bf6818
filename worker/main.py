"""The worker's entry point: `inferd worker`, or `python -m worker.main`."""

import asyncio
import sys

from core.process import run_process
from core.runtime import open_worker
from core.settings import Settings
from worker import lifecycle


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    stopped = asyncio.Event()
    lifecycle.stop_on_signals(stopped)
    async with open_worker(settings) as runtime:
        await lifecycle.run(runtime, stopped)


def main() -> int:
    """Returns the exit code (core/process.py)."""
    return run_process("worker", serve)


if __name__ == "__main__":
    sys.exit(main())
