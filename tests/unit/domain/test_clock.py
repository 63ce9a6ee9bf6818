"""The machine's clock, as far as the domain promises anything about it."""

from datetime import UTC, datetime, timedelta

from core.domain.clock import Clock, SystemClock


def test_the_wall_clock_is_in_utc() -> None:
    before = datetime.now(UTC)
    clock: Clock = SystemClock()
    now = clock.now()

    assert now.utcoffset() == timedelta(0)
    assert before <= now <= datetime.now(UTC)


def test_the_monotonic_clock_never_runs_backwards() -> None:
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1_000)]

    assert readings == sorted(readings)
