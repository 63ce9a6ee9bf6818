"""The clock as an argument, so that a test can stop it.

It is for logs, payloads and deadlines within a process. Leases and schedules use PostgreSQL's now().
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Returns the wall-clock time in UTC."""

    def monotonic(self) -> float:
        """Returns seconds that never decrease; only differences are meaningful."""


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
