"""When a failed delivery is tried again: a published table, jitter, and `Retry-After` within bounds. Pure.

Ten attempts over 75 hours and 35 minutes, the sample table of Standard Webhooks 1.0.0:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from collections.abc import Sequence
from typing import Final

_MINUTE: Final = 60.0
_HOUR: Final = 60 * _MINUTE

# Before attempt n + 1, in seconds; the first goes at once.
WAITS: Final = (
    5.0,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
MAX_ATTEMPTS: Final = len(WAITS) + 1
# An endpoint is disabled after so many failures in a row, over so long without a success.
DISABLING_FAILURES: Final = 20
DISABLING_SECONDS: Final = 120 * _HOUR
_JITTER: Final = 0.2
_LONGEST_WISH: Final = 24 * _HOUR
_SMALLEST_CEILING: Final = 60.0
# After a response that asks to slow down, or none at all: wait at least so long, or so many times the planned wait if
# that is less.
_THROTTLED_SECONDS: Final = 60.0
_THROTTLED_FACTOR: Final = 12


def next_wait(
    attempts: int,
    rand: float,
    *,
    retry_after: float | None = None,
    throttled: bool = False,
    waits: Sequence[float] = WAITS,
) -> float | None:
    """Seconds until the next attempt after `attempts` of the schedule, or None when they are used up.

    `rand` is in [0, 1). `retry_after` is honoured between the planned wait and twice of it (60 s for the short ones).
    """
    if attempts > len(waits):
        return None
    planned = waits[max(attempts, 1) - 1]
    wait = planned * (1 - _JITTER + 2 * _JITTER * rand)
    if throttled:
        wait = max(wait, min(_THROTTLED_SECONDS, _THROTTLED_FACTOR * planned))
    if retry_after is not None:
        ceiling = min(max(2 * planned, _SMALLEST_CEILING), _LONGEST_WISH)
        wait = max(wait, min(retry_after, ceiling))
    return wait
