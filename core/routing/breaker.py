"""The circuit breaker of one provider and model: a state machine whose caller passes the time.

core/routing/router.py keeps them, in each process separately. A breaker counts only calls that got no response at all:
a server that throttles, refuses or returns an error is up.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Evidence(StrEnum):
    """What a call shows about the server: it responded, it did not respond, or neither is known."""

    ANSWERED = "answered"
    AWAY = "away"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the breaker opens, and for how long in seconds.

    It opens after `failures` calls in a row. It stays open for `share` of the time that the server has been away,
    within `shortest` and `longest`, so that the end of a short outage is noticed within seconds and a long one costs
    few probes. A probe that is still open after `probe` seconds means that the server is up but slow. Postponed jobs
    return at `per_second`.
    """

    failures: int = 5
    share: float = 0.1
    shortest: float = 1.0
    longest: float = 30.0
    probe: float = 12.0
    per_second: float = 200.0


DEFAULT_BREAKER: Final = BreakerPolicy()


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may go out; `number` is 0 unless it is a probe."""

    number: int


ORDINARY: Final = Call(0)


@dataclass(slots=True)
class Breaker:
    """Opens after several calls in a row without a response; then lets one call through at a time."""

    policy: BreakerPolicy = DEFAULT_BREAKER
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    away_since: float = 0.0
    _until: float = 0.0
    _last_slot: float = 0.0
    _probe: Call | None = None
    _probes: int = 0

    @property
    def is_forgettable(self) -> bool:
        """Whether a new breaker would behave the same, so that this one need not be kept."""
        return self.state is BreakerState.CLOSED and not self.failures

    def admit(self, now: float, *, rand: float) -> Call | float:
        """Returns a call that may go out, or the seconds after which to ask again; `rand` is in [0, 1)."""
        if self.state is BreakerState.OPEN and now >= self._until:
            self.state = BreakerState.HALF_OPEN
        if self.state is BreakerState.HALF_OPEN and self._probe is not None and now >= self._until:
            self._close()
        match self.state:
            case BreakerState.CLOSED:
                return ORDINARY
            case BreakerState.HALF_OPEN if self._probe is None:
                self._probes += 1
                self._probe = Call(self._probes)
                self._until = now + self.policy.probe
                return self._probe
            case _:
                return self.hold(now, rand=rand)

    def hold(self, now: float, *, rand: float) -> float:
        """Returns the seconds that one more job waits: until the next probe, and after the jobs that wait already."""
        # While a probe is under way its outcome is not known yet; most end within milliseconds.
        earliest = self._until if self.state is BreakerState.OPEN else now + self.policy.shortest
        slot = 1 / self.policy.per_second
        self._last_slot = max(earliest, self._last_slot) + slot
        return max(self._last_slot - rand * slot - now, 0.0)

    def settle(self, call: Call, evidence: Evidence, now: float) -> None:
        """Records how a call ended that `admit` allowed."""
        is_probe = self._probe is not None and call == self._probe
        if is_probe:
            self._probe = None
        match evidence:
            case Evidence.ANSWERED:
                self._close()
            case Evidence.AWAY if self.state is BreakerState.CLOSED:
                self.failures += 1
                if self.failures == 1:
                    self.away_since = now
                if self.failures >= self.policy.failures:
                    self._open(now)
            case Evidence.AWAY if is_probe:
                self.failures += 1
                self._open(now)
            case _:
                # A call from before the breaker opened is no news; a probe with an unknown outcome allows the next one.
                pass

    def _open(self, now: float) -> None:
        away = now - self.away_since
        self._until = now + min(max(away * self.policy.share, self.policy.shortest), self.policy.longest)
        self.state = BreakerState.OPEN

    def _close(self) -> None:
        self.state, self.failures = BreakerState.CLOSED, 0
        self._probe, self._last_slot = None, 0.0
