"""Reads how long a provider asks us to wait, from the many headers that are in use for it.

core/providers/faults.py calls it. The result is a minimum; core/domain/retry.py caps it and adds jitter.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# A day: longer waits are mistakes, and could overflow the row's `run_at`.
MAX_SECONDS: Final = 86_400.0
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_RATELIMIT_T: Final = re.compile(r"(?:^|[;,\s])t=\"?(\d+(?:\.\d+)?)")
_RATELIMIT_R: Final = re.compile(r"(?:^|[;,\s])r=\"?(\d+)")
_TRY_AGAIN: Final = re.compile(r"(?i)try again in ((?:\d+(?:\.\d+)?(?:ms|h|m|s))+)")
_EPOCH_MS: Final = 1e12
_EPOCH_S: Final = 1e9


def retry_after(headers: Mapping[str, str], *, now: datetime, text: str = "") -> float | None:
    """Returns seconds, or None when the response has no usable hint; `text` is the error's message.

    Explicit waits win, the largest of them. The reset headers say when a bucket is full again, which is an upper bound,
    so they are used only without an explicit wait, and only for a bucket that is empty.
    """
    found = {name.lower(): value.strip() for name, value in headers.items()}
    explicit = (
        _scaled(found.get("retry-after-ms"), 0.001),
        _scaled(found.get("x-ms-retry-after-ms"), 0.001),
        _retry_after(found, now),
        _draft_ratelimit(found.get("ratelimit")),
    )
    again = _TRY_AGAIN.search(text)
    return _largest(explicit) or _largest(_resets(found, now)) or (_largest([_duration(again[1])]) if again else None)


def _largest(values: Iterable[float | None]) -> float | None:
    usable = [value for value in values if value is not None and math.isfinite(value) and value > 0]
    return min(max(usable), MAX_SECONDS) if usable else None


def _number(text: str | None) -> float | None:
    try:
        # float() also accepts 1_0 and full-width digits, which no header has.
        return float(text) if text and text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _scaled(text: str | None, factor: float) -> float | None:
    value = _number(text)
    return None if value is None else value * factor


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    text = headers.get("retry-after")
    seconds = _number(text)
    if text is None or seconds is not None:
        return seconds
    then = _http_date(text)
    # Compared with the provider's own Date header, so that a difference between the clocks cancels out.
    return None if then is None else (then - (_http_date(headers.get("date", "")) or now)).total_seconds()


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _draft_ratelimit(text: str | None) -> float | None:
    seconds = _RATELIMIT_T.search(text or "")
    remaining = _RATELIMIT_R.search(text or "")
    return None if seconds is None or (remaining and int(remaining[1]) > 0) else float(seconds[1])


def _resets(headers: Mapping[str, str], now: datetime) -> list[float | None]:
    resets: list[float | None] = []
    for name, value in headers.items():
        if name.startswith("x-ratelimit-reset"):
            remaining = headers.get(name.replace("reset", "remaining", 1))
            resets.append(_reset(value, now) if remaining == "0" else None)
        elif name.startswith("anthropic-ratelimit-") and name.endswith("-reset"):
            remaining = headers.get(name.removesuffix("reset") + "remaining")
            resets.append(_rfc3339(value, now) if remaining == "0" else None)
    return resets


def _reset(text: str, now: datetime) -> float | None:
    """Reads a duration, seconds, or a Unix time in seconds or milliseconds: all four are in use."""
    value = _number(text)
    if value is None:
        return _duration(text)
    if value >= _EPOCH_S:
        return value / (1000 if value >= _EPOCH_MS else 1) - now.timestamp()
    return value


def _duration(text: str) -> float | None:
    """Reads Go's notation: 1h2m, 6m0s, 120ms."""
    if _DURATION.sub("", text):
        return None
    return sum((float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text)), 0.0)


def _rfc3339(text: str, now: datetime) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
