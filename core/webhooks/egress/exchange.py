"""What came of one POST, and what of it is kept: values and pure functions between egress, deliver and the log."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

from core.domain.clock import Clock
from core.providers.retry_after import retry_after as read_retry_after

# `unreachable` is every reason for which no connection came to be: no such name, a closed or a filtered port, an
# address that is not allowed. They look alike on purpose.
Problem = Literal["unreachable", "tls", "timeout", "reset", "protocol"]

EXCERPT_CHARACTERS: Final = 1024


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds; None for what did not happen, such as the connect of a connection that was kept."""

    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The receiver's answer: its status, what it asked for, and the first bytes of its body."""

    status: int
    retry_after: str | None
    date: str | None
    body: bytes
    public: bool
    timing: Timing

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def wish(self, clock: Clock) -> float | None:
        """The seconds of Retry-After, given as a number or as a date; None when there is none that makes sense."""
        if self.retry_after is None:
            return None
        headers = {"retry-after": self.retry_after} | ({"date": self.date} if self.date else {})
        return read_retry_after(headers, now=clock.now())

    def excerpt(self) -> str | None:
        """What the log keeps of the body: printable, at most 1 kB, and nothing that a private address refused with."""
        if not self.body or not (self.public or self.is_success):
            return None
        text = self.body[:EXCERPT_CHARACTERS].decode("utf-8", errors="backslashreplace")
        shown = "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)
        return shown[:EXCERPT_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Crowded:
    """Nothing was sent: too many are on their way to the same address. There may be room in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There was none. `problem` is for the tenant; `reason` is for the operator's log alone."""

    problem: Problem
    reason: str
    timing: Timing

    def told_timing(self) -> Timing:
        """What the tenant may see: nothing of an attempt that reached nobody."""
        return Timing() if self.problem == "unreachable" else self.timing
