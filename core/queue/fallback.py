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
        self._away_since: float | None = None

    @property
    def is_needed(self) -> bool:
        """Whether Redis has failed for so long that PostgreSQL is read instead."""
        return self._away_since is not None and time.monotonic() - self._away_since >= _PATIENCE_SECONDS

    def redis_failed(self) -> None:
        """Notes that Redis refused a claim, or did not answer."""
        if self._away_since is None:
            self._away_since = time.monotonic()

    def redis_answered(self, *, full: bool) -> None:
        """Notes a claim that succeeded. A full Redis takes no new ids, so PostgreSQL is still read for those."""
        if full:
            self.redis_failed()
        else:
            self._away_since = None

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
                except Exception as error:  # noqa: BLE001 - PostgreSQL may be away as well; the next turn may work
                    log.warning("queue_fallback_failed", error=type(error).__name__)
                    end_if_cancelled()
