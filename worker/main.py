"""The worker's entry point: `inferd worker`, or `python -m worker.main`."""

import asyncio

import uvloop

from core.observability.logs import configure_logs
from core.observability.sentry import configure_sentry
from core.runtime import open_worker
from core.settings import Settings, load_settings
from worker import lifecycle


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    stopped = asyncio.Event()
    lifecycle.stop_on_signals(stopped)
    async with open_worker(settings) as runtime:
        await lifecycle.run(runtime, stopped)


def main() -> None:
    """Raises SettingsError when the environment is incomplete."""
    settings = load_settings()
    configure_logs(settings.log)
    configure_sentry(settings.sentry, role="worker")
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
