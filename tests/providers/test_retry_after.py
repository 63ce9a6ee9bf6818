"""Every way in which providers say how long to wait, and every way in which they get it wrong."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.providers.retry_after import MAX_SECONDS, retry_after

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
IN_30_S = format_datetime(NOW + timedelta(seconds=30), usegmt=True)
RESET = "x-ratelimit-reset-requests"
REMAINING = "x-ratelimit-remaining-requests"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 1),
        ({"retry-after": IN_30_S}, 30),
        # The provider's clock is an hour ahead of ours, and both of its dates are made by it.
        ({"retry-after": "Sat, 21 Nov 2026 13:00:30 GMT", "date": "Sat, 21 Nov 2026 13:00:00 GMT"}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 -0000"}, 30),
        ({"ratelimit": '"default";r=0;t=55'}, 55),
        ({"ratelimit": "limit=10, r=0, t=5"}, 5),
        ({"ratelimit": '"default";r=3;t=55'}, None),
        ({"ratelimit": '"rt=9";pct=3'}, None),
        ({RESET: "6m0s", REMAINING: "0"}, 360),
        ({RESET: "120ms", REMAINING: "0"}, 0.12),
        ({RESET: "1h2m3s", REMAINING: "0"}, 3723),
        ({RESET: "17", REMAINING: "0"}, 17),
        ({RESET: "6m0s", REMAINING: "12"}, None),
        ({RESET: "0", REMAINING: "-1"}, None),
        ({RESET: "6m0s"}, None),
        ({RESET: "6m0s", REMAINING: "0", "retry-after": "2"}, 2),
        ({"x-ratelimit-reset": str((NOW.timestamp() + 9) * 1000), "x-ratelimit-remaining": "0"}, 9),
        ({"x-ratelimit-reset": str(NOW.timestamp() + 9), "x-ratelimit-remaining": "0"}, 9),
        (
            {
                "anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:40Z",
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-21T12:09:00Z",
                "anthropic-ratelimit-requests-remaining": "9",
            },
            40,
        ),
        ({"anthropic-ratelimit-tokens-reset": "soon", "anthropic-ratelimit-tokens-remaining": "0"}, None),
        ({"retry-after": "1e30"}, MAX_SECONDS),
    ],
)
def test_a_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=NOW) == (None if seconds is None else pytest.approx(seconds, abs=0.01))


@pytest.mark.parametrize(
    "value", ["", "-5", "0", "nan", "inf", "-inf", "1_0", "٣", "soon", "Sat, 99 Nov 2026 99:00:00 GMT", "1e999"]
)
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "ratelimit"])
def test_garbage_is_no_wait(name: str, value: str) -> None:
    assert retry_after({name: value}, now=NOW) is None


def test_the_words_are_the_last_resort() -> None:
    text = "Rate limit reached. Please try again in 41.724s. Visit …"

    assert retry_after({}, now=NOW, text=text) == pytest.approx(41.724)
    assert retry_after({}, now=NOW, text="try again in 1m2.5s") == pytest.approx(62.5)
    assert retry_after({}, now=NOW, text="try again in 20ms") == pytest.approx(0.02)
    assert retry_after({"retry-after": "3"}, now=NOW, text=text) == 3


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "ratelimit", "date", RESET, REMAINING, "x-ratelimit-reset"]),
        st.text(),
    ),
    st.text(),
)
def test_no_header_breaks_it(headers: dict[str, str], text: str) -> None:
    wait = retry_after(headers, now=NOW, text=text)

    assert wait is None or 0 < wait <= MAX_SECONDS
