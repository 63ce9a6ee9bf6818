"""What a worker does while Redis is gone, read-only or full: it reads due ids from PostgreSQL, a few each second.

They run by the same task, without a hold in Redis: PostgreSQL lets only one claim through. Used by
core/queue/worker.py; the source is core/jobs/fallback.py.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from core.queue.connect import end_if_cancelled
from core.queue.keys import Lane

# A restart of Redis or a failover is shorter than this, and is waited for.
_PATIENCE_SECONDS: Final = 3.0
_PACE_SECONDS: Final = 1.0
_MOST: Final = 25

# Returns at most so many members that are due, with their lanes.
Source = Callable[[int], Awaitable[Sequence[tuple[Lane, str]]]]

log = structlog.get_logger(__name__)


class Fallback:
    """Whether Redis serves this worker, and the loop that replaces it while it does not."""

    most = _MOST

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self._failing_since: float | None = None
        self._failed_at = float("-inf")
        self._is_failing = False

    @property
    def is_needed(self) -> bool:
        """Whether Redis has failed for so long that PostgreSQL is asked instead.

        A Redis that is nearly full takes some ids and refuses the next: it counts as failing until it has been well
        for as long as it has to fail at first.
        """
        if self._failing_since is None:
            return False
        now = time.monotonic()
        last = now if self._is_failing else self._failed_at
        return last - self._failing_since >= _PATIENCE_SECONDS and now - last < _PATIENCE_SECONDS

    def redis_failed(self) -> None:
        """Notes that Redis refused a claim, or did not answer."""
        now = time.monotonic()
        if self._failing_since is None or (not self._is_failing and now - self._failed_at >= _PATIENCE_SECONDS):
            self._failing_since = now
        self._failed_at = now
        self._is_failing = True

    def redis_answered(self, *, full: bool) -> None:
        """Notes a claim that succeeded. A full Redis takes no new ids, so PostgreSQL is still read for those."""
        if full:
            self.redis_failed()
        else:
            self._is_failing = False

    async def run(self, take: Callable[[Source], Awaitable[None]]) -> None:
        """Runs for ever: hands the source to `take` about every second while it is needed."""
        if self.source is None:
            return
        working = False
        while True:
            await asyncio.sleep(_PACE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter is no secret
            if self.is_needed != working:
                working = not working
                log.warning("queue_fallback", working=working)
            if working:
                try:
                    await take(self.source)
                except Exception as error:  # noqa: BLE001 - PostgreSQL may be away as well; the next round may work
                    log.warning("queue_fallback_failed", error=type(error).__name__)
                    end_if_cancelled()
