"""An asyncio.run that Ctrl-C, SIGTERM and a closed terminal end in order.

Used by `inferd serve`, `demo` and `webhooks listen`. Guarantees that the clean-up of the coroutine runs to its end: the
first signal cancels it and later ones change nothing, because every clean-up is bounded in time.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import TypeVar

Result = TypeVar("Result")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_stopped(work: Coroutine[object, object, Result], on_stop: Callable[[], None]) -> Result | None:
    """Returns what `work` returns, or None when a signal ended it; `on_stop` is called at the signal."""
    return asyncio.run(_run(work, on_stop))


async def _run(work: Coroutine[object, object, Result], on_stop: Callable[[], None]) -> Result | None:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            on_stop()
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        return None
