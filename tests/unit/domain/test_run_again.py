"""When a task runs again."""

import pytest

from core.domain.run_again import AT_FRONT, After, again_in


@pytest.mark.parametrize("seconds", [0.0, -0.0, -3.0])
def test_what_had_begun_and_need_not_wait_goes_to_the_front(seconds: float) -> None:
    assert again_in(seconds) == AT_FRONT


def test_what_must_wait_waits() -> None:
    assert again_in(1.5) == After(1.5)


def test_a_time_that_has_passed_is_now() -> None:
    assert (After(1.5).milliseconds, After(0.0004).milliseconds, After(-60).milliseconds) == (1500, 0, 0)
