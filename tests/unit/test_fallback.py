"""When a worker asks PostgreSQL for due jobs because Redis does not serve it."""

import pytest

from core.queue import fallback
from core.queue.fallback import Fallback


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(fallback, "time", found)
    return found


def needed(clock: Clock, outcomes: str) -> str:
    """One claim a second: `x` failed, `f` found Redis full, `.` went well. Returns `N` where PostgreSQL is asked."""
    subject, seen = Fallback(None), ""
    for outcome in outcomes:
        if outcome == "x":
            subject.redis_failed()
        else:
            subject.redis_answered(full=outcome == "f")
        seen += "N" if subject.is_needed else " "
        clock.now += 1.0
    return seen.rstrip()


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ("....", ""),
        ("xxx...", ""),
        ("xxxxxx", "   NNN"),
        # Until it has been well for as long.
        ("xxxxxx......", "   NNNNN"),
        # Nearly full: some ids fit, the next do not.
        ("f.f.f.f.f.f.", "    NNNNNNNN"),
        # Failures that are far apart are single ones.
        ("x...x...x...x", ""),
    ],
)
def test_postgresql_is_asked_while_redis_fails_and_not_for_single_faults(
    clock: Clock, outcomes: str, expected: str
) -> None:
    assert needed(clock, outcomes) == expected
