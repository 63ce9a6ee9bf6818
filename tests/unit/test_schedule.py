"""When a delivery is tried again: the published table, with its jitter and the receiver's wish within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.webhooks.deliveries.schedule import MAX_ATTEMPTS, next_wait

MINUTE, HOUR = 60, 3600
# After attempt n, in seconds.
TABLE = {
    1: 5,
    2: 5 * MINUTE,
    3: 30 * MINUTE,
    4: 2 * HOUR,
    5: 5 * HOUR,
    6: 10 * HOUR,
    7: 14 * HOUR,
    8: 20 * HOUR,
    9: 24 * HOUR,
}
ATTEMPTS = st.integers(1, 9)
RAND = st.floats(0, 1, exclude_max=True)
WISH = st.none() | st.floats(0, 1e9)


@pytest.mark.parametrize(("attempts", "seconds"), TABLE.items())
def test_the_middle_of_the_jitter_is_the_table(attempts: int, seconds: int) -> None:
    assert next_wait(attempts, 0.5) == pytest.approx(seconds)
    assert next_wait(attempts, 0.0) == pytest.approx(seconds * 0.8)
    assert next_wait(attempts, 0.999999) == pytest.approx(seconds * 1.2, rel=1e-4)


def test_there_are_ten_attempts_over_75_hours() -> None:
    assert MAX_ATTEMPTS == 10
    assert sum(TABLE.values()) == 75 * HOUR + 35 * MINUTE + 5
    assert [next_wait(attempts, 0.5) for attempts in (10, 11, 1000)] == [None, None, None]
    assert next_wait(10, 0.5, retry_after=1.0, throttled=True) is None


@given(attempts=ATTEMPTS, rand=RAND, wish=WISH, throttled=st.booleans())
def test_a_wait_is_never_shorter_than_planned_and_never_without_bound(
    attempts: int, rand: float, wish: float | None, throttled: bool
) -> None:
    wait = next_wait(attempts, rand, retry_after=wish, throttled=throttled)
    planned = TABLE[attempts]

    assert wait is not None
    assert planned * 0.8 <= wait <= max(2 * planned, 60)
    assert wait <= 24 * HOUR * 1.2


@given(attempts=ATTEMPTS, rand=RAND)
def test_who_throttles_is_left_alone_for_a_minute(attempts: int, rand: float) -> None:
    wait = next_wait(attempts, rand, throttled=True)

    assert wait is not None
    assert wait >= 60


@pytest.mark.parametrize(
    ("attempts", "wish", "wait"),
    [(1, 30.0, 30.0), (1, 1.0, 5.0), (1, 600.0, 60.0), (2, 400.0, 400.0), (2, 9e9, 600.0), (9, 9e9, 24 * HOUR)],
)
def test_a_wish_is_granted_between_the_plan_and_twice_of_it(attempts: int, wish: float, wait: float) -> None:
    assert next_wait(attempts, 0.5, retry_after=wish) == pytest.approx(wait)
