"""The outcome of one POST, and how much of it the log keeps: values and pure functions."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

from core.domain.clock import Clock
from core.providers.retry_after import retry_after as read_retry_after

# `unreachable` stands for every reason why there was no connection: no such name, a closed or filtered port, an address
# that is not allowed. They look alike on purpose.
Problem = Literal["unreachable", "tls", "timeout", "reset", "protocol"]

EXCERPT_CHARACTERS: Final = 1024


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds; None for a part that did not happen, such as the connect of a connection that was kept."""

    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The receiver's response: its status, the headers that matter here, and the first bytes of its body."""

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
        """The seconds of Retry-After, given as a number or as a date; None when there is no valid one."""
        if self.retry_after is None:
            return None
        headers = {"retry-after": self.retry_after} | ({"date": self.date} if self.date else {})
        return read_retry_after(headers, now=clock.now())

    def excerpt(self) -> str | None:
        """What the log keeps of the body: printable, at most 1 kB, and nothing of a private address's refusal."""
        if not self.body or not (self.public or self.is_success):
            return None
        text = self.body[:EXCERPT_CHARACTERS].decode("utf-8", errors="backslashreplace")
        shown = "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)
        return shown[:EXCERPT_CHARACTERS]


@dataclass(frozen=True, slots=True)
class NoPlace:
    """Nothing was sent: too many requests to the same address are open. There may be room in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There was no response. `problem` is for the tenant; `reason` is for the operator's log alone."""

    problem: Problem
    reason: str
    timing: Timing

    def visible_timing(self) -> Timing:
        """The timing that the tenant may see: none, if there was no connection."""
        return Timing() if self.problem == "unreachable" else self.timing
