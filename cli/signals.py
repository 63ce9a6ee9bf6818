"""An asyncio.run that Ctrl-C, SIGTERM and a closed terminal end in order. Used by `inferd serve` and `inferd demo`.

Guarantees that the coroutine's clean-up runs to its end: the first signal cancels it, and later ones change nothing,
because the clean-up is bounded by itself.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import TypeVar

Answer = TypeVar("Answer")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_stopped(work: Coroutine[object, object, Answer], on_stop: Callable[[], None]) -> Answer | None:
    """What `work` returns, or None when a signal ended it; `on_stop` is called at the signal."""
    return asyncio.run(_run(work, on_stop))


async def _run(work: Coroutine[object, object, Answer], on_stop: Callable[[], None]) -> Answer | None:
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
