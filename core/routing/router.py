"""The one place that is asked before each call: may it go out now, and if not, when to ask again.

Called by core/jobs/execute.py, after the claim and before a call is noted. Today it asks the breakers of this process;
pacing and fallbacks have their place here.
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

# Callers choose the names of models, so what is remembered of them has an end.
_MOST: Final = 1_000
_AWAY: Final = frozenset({FaultClass.UNREACHABLE, FaultClass.UNAVAILABLE})
_UNKNOWN: Final = frozenset({FaultClass.INTERRUPTED, FaultClass.TIMEOUT, FaultClass.UNEXPECTED})
# It was this process that did not send the call.
_NOT_ASKED: Final = frozenset({FaultCode.CONNECTIONS_BUSY, FaultCode.NOT_SENT})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wait:
    """No call now: come back in `seconds`; `reason` is for the attempt's row."""

    seconds: float
    reason: Failure


@dataclass(slots=True)
class Go:
    """A call may go out. It is settled once, whatever becomes of it."""

    _router: "Router"
    _key: tuple[str, str]
    _call: Call
    _settled: bool = False

    @property
    def provider(self) -> str:
        return self._key[0]

    def settle(self, fault: Fault | None) -> None:
        """How the call ended: with an answer (None) or a fault."""
        self._end(evidence_of(fault))

    def abandon(self) -> None:
        """The call did not go out, or its end was not waited for. Does nothing after `settle`."""
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
        """Whether a call to the model may go out now."""
        key = (provider, model)
        breaker = self._breakers.get(key)
        if breaker is None:
            return Go(self, key, ORDINARY)
        was = breaker.state
        answer = breaker.admit(self.clock(), rand=random.random())  # noqa: S311 - jitter is no secret
        self._note_turn(key, breaker, was)
        return Go(self, key, answer) if isinstance(answer, Call) else Wait(answer, _paused(key, breaker.failures))

    def hold(self, provider: str, model: str) -> float | None:
        """How long a job waits after a call that nothing answered; None while the breaker is closed."""
        breaker = self._breakers.get((provider, model))
        if breaker is None or breaker.state is BreakerState.CLOSED:
            return None
        return breaker.hold(self.clock(), rand=random.random())  # noqa: S311 - jitter is no secret

    def note(self, key: tuple[str, str], call: Call, evidence: Evidence) -> None:
        """What came of a call (see Go)."""
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
    """What the end of a call says of the server."""
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
        f"No call went out: nothing answered at {name} {failures} times in a row, so one job at a time tries it.",
        billed="no",
    )
