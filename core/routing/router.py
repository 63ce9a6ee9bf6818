"""Decides before each call whether it may go out now, and if not, when to try again.

core/jobs/execute.py calls it after the claim, before the call is recorded. Today it consults the breakers of this
process; pacing and fallbacks belong here too.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from core.domain.transitions import Failure
from core.observability.metrics import BREAKERS_OPEN
from core.providers.faults import Fault, FaultClass, FaultCode
from core.routing.breaker import DEFAULT_BREAKER, ORDINARY, Breaker, BreakerPolicy, BreakerState, Call, Evidence

# Callers choose the names of models, so the number that is kept must be bounded.
_MOST: Final = 1_000
_AWAY: Final = frozenset({FaultClass.UNREACHABLE, FaultClass.UNAVAILABLE})
_UNKNOWN: Final = frozenset({FaultClass.INTERRUPTED, FaultClass.TIMEOUT, FaultClass.UNEXPECTED})
# This process did not send the call, so it shows nothing about the server.
_NOT_ASKED: Final = frozenset({FaultCode.CONNECTIONS_BUSY, FaultCode.NOT_SENT})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wait:
    """The call must wait for `seconds`; `reason` is stored in the attempt's row."""

    seconds: float
    reason: Failure


@dataclass(slots=True)
class Go:
    """The call may go out. The caller ends it once, with `settle` or `abandon`."""

    _router: "Router"
    _key: tuple[str, str]
    _call: Call
    _settled: bool = False

    @property
    def provider(self) -> str:
        return self._key[0]

    def settle(self, fault: Fault | None) -> None:
        """Records that the call ended with a valid answer (None) or with a fault."""
        self._end(evidence_of(fault))

    def abandon(self) -> None:
        """Records that the call was not sent or its end is unknown. Does nothing after `settle`."""
        self._end(Evidence.UNKNOWN)

    def _end(self, evidence: Evidence) -> None:
        if not self._settled:
            self._settled = True
            self._router.note(self._key, self._call, evidence)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Router:
    """The breakers of one process, by provider and model."""

    policy: BreakerPolicy = DEFAULT_BREAKER
    clock: Callable[[], float] = _loop_time
    _breakers: "OrderedDict[tuple[str, str], Breaker]" = field(default_factory=OrderedDict)

    def admit(self, provider: str, model: str) -> Go | Wait:
        """Returns Go when a call to the model may go out now, otherwise Wait."""
        key = (provider, model)
        breaker = self._breakers.get(key)
        if breaker is None:
            return Go(self, key, ORDINARY)
        was = breaker.state
        decision = breaker.admit(self.clock(), rand=random.random())  # noqa: S311 - jitter is no secret
        self._note_turn(key, breaker, was)
        return Go(self, key, decision) if isinstance(decision, Call) else Wait(decision, _paused(key, breaker.failures))

    def hold(self, provider: str, model: str) -> float | None:
        """Returns the seconds to wait after a call without a response; None while the breaker is closed."""
        breaker = self._breakers.get((provider, model))
        if breaker is None or breaker.state is BreakerState.CLOSED:
            return None
        return breaker.hold(self.clock(), rand=random.random())  # noqa: S311 - jitter is no secret

    def note(self, key: tuple[str, str], call: Call, evidence: Evidence) -> None:
        """Records how a call ended; Go calls it."""
        breaker = self._breakers.get(key)
        if breaker is None:
            if evidence is not Evidence.AWAY:
                return
            breaker = self._breakers[key] = Breaker(self.policy)
            if len(self._breakers) > _MOST:
                self._forget(next(iter(self._breakers)))
        was = breaker.state
        breaker.settle(call, evidence, self.clock())
        self._note_turn(key, breaker, was)
        if breaker.is_forgettable:
            self._breakers.pop(key, None)

    def _forget(self, key: tuple[str, str]) -> None:
        if self._breakers.pop(key).state is not BreakerState.CLOSED:
            BREAKERS_OPEN.labels(provider=key[0]).dec()

    def _note_turn(self, key: tuple[str, str], breaker: Breaker, was: BreakerState) -> None:
        provider, model = key
        if was is BreakerState.CLOSED and breaker.state is not BreakerState.CLOSED:
            BREAKERS_OPEN.labels(provider=provider).inc()
            log.warning("breaker_opened", provider=provider, model=model, failures=breaker.failures)
        elif was is not BreakerState.CLOSED and breaker.state is BreakerState.CLOSED:
            BREAKERS_OPEN.labels(provider=provider).dec()
            log.warning("breaker_closed", provider=provider, model=model, away=self.clock() - breaker.away_since)


def evidence_of(fault: Fault | None) -> Evidence:
    """Returns what the end of a call shows about the server."""
    if fault is None:
        return Evidence.ANSWERED
    if fault.fault_class in _AWAY:
        return Evidence.AWAY
    if fault.fault_class in _UNKNOWN or fault.code in _NOT_ASKED:
        return Evidence.UNKNOWN
    return Evidence.ANSWERED


def _paused(key: tuple[str, str], failures: int) -> Failure:
    name = "/".join(key)
    return Failure(
        FaultClass.UNAVAILABLE.value,
        "provider_paused",
        f"No call was sent: {name} did not respond {failures} times in a row, so one job at a time tries it.",
        billed="no",
    )
