"""The breaker by a clock that a test turns, and the router that asks it."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from core.observability.metrics import REGISTRY
from core.providers.faults import Fault, FaultCode
from core.routing import router as routing
from core.routing.breaker import ORDINARY, Breaker, BreakerPolicy, BreakerState, Call, Evidence
from core.routing.router import Go, Router, Wait, evidence_of

POLICY = BreakerPolicy()


def opened(at: float = 100.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(POLICY.failures):
        assert breaker.admit(at, rand=0.0) == ORDINARY
        breaker.settle(ORDINARY, Evidence.AWAY, at)
    assert breaker.state is BreakerState.OPEN
    return breaker


def probe(breaker: Breaker, now: float) -> Call:
    call = breaker.admit(now, rand=0.0)
    assert isinstance(call, Call)
    assert call != ORDINARY
    return call


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(POLICY)
    for _ in range(3):
        for _ in range(POLICY.failures - 1):
            breaker.settle(ORDINARY, Evidence.AWAY, 1.0)
        assert breaker.state is BreakerState.CLOSED
        breaker.settle(ORDINARY, Evidence.ANSWERED, 1.0)
        assert breaker.is_forgettable
    breaker.settle(ORDINARY, Evidence.UNKNOWN, 1.0)
    assert breaker.is_forgettable


def test_while_it_is_open_jobs_come_back_one_after_the_other() -> None:
    breaker = opened()
    waits = [breaker.admit(100.5, rand=0.0) for _ in range(10_000)]
    assert all(isinstance(wait, float) for wait in waits)
    seconds = [wait for wait in waits if isinstance(wait, float)]
    assert seconds[0] == pytest.approx(0.505)
    gaps = [later - earlier for earlier, later in pairwise(seconds)]
    assert min(gaps) == pytest.approx(1 / POLICY.per_second)
    assert seconds[-1] == pytest.approx(0.5 + 10_000 / POLICY.per_second)


def test_those_who_come_back_too_early_get_no_slot_twice() -> None:
    breaker = opened()
    first = [100.5 + breaker.hold(100.5, rand=0.0) for _ in range(1000)]
    call = probe(breaker, 101.0)
    breaker.settle(call, Evidence.AWAY, 101.0)
    second = [102.0 + breaker.hold(102.0, rand=0.0) for _ in range(1000)]
    assert min(second) > max(first)


def test_one_probe_at_a_time_and_its_answer_closes() -> None:
    breaker = opened()
    call = probe(breaker, 101.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert [breaker.admit(101.0, rand=0.0) for _ in range(2)] == [pytest.approx(1.005), pytest.approx(1.01)]
    breaker.settle(call, Evidence.ANSWERED, 101.1)
    assert breaker.is_forgettable
    assert breaker.admit(101.1, rand=0.0) == ORDINARY


def test_a_failed_probe_opens_it_for_a_tenth_of_the_outage() -> None:
    breaker, now, pauses = opened(), 101.0, []
    while now < 1000:
        breaker.settle(probe(breaker, now), Evidence.AWAY, now)
        wait = breaker._until - now
        assert isinstance(breaker.admit(now + wait - 0.01, rand=0.0), float)
        pauses.append((now - 100.0, wait))
        now += wait
    assert pauses[0][1] == 1.0
    assert all(wait <= max(1.0, away / 10) + 1e-9 and wait <= POLICY.longest for away, wait in pauses)
    # The end of a restart of a minute is noticed within 6 s.
    assert max(wait for away, wait in pauses if away <= 60) <= 6.0
    assert pauses[-1][1] == POLICY.longest


def test_a_probe_that_says_nothing_makes_room_for_the_next() -> None:
    breaker = opened()
    breaker.settle(probe(breaker, 101.0), Evidence.UNKNOWN, 101.2)
    assert breaker.state is BreakerState.HALF_OPEN
    probe(breaker, 101.2)


def test_a_probe_that_is_neither_refused_nor_answered_has_its_connection() -> None:
    breaker = opened()
    probe(breaker, 101.0)
    assert isinstance(breaker.admit(101.0 + POLICY.probe - 0.1, rand=0.0), float)
    assert breaker.admit(101.0 + POLICY.probe, rand=0.0) == ORDINARY


def test_calls_from_before_it_opened_neither_open_it_longer_nor_end_its_probe() -> None:
    breaker = opened()
    until = breaker._until
    breaker.settle(ORDINARY, Evidence.AWAY, 100.9)
    assert breaker._until == until
    call = probe(breaker, 101.0)
    breaker.settle(ORDINARY, Evidence.AWAY, 101.1)
    breaker.settle(ORDINARY, Evidence.UNKNOWN, 101.1)
    assert (breaker.state, breaker._probe) == (BreakerState.HALF_OPEN, call)
    # But an answer is an answer.
    breaker.settle(ORDINARY, Evidence.ANSWERED, 101.2)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("code", "evidence"),
    [
        (None, Evidence.ANSWERED),
        (FaultCode.PROVIDER_UNREACHABLE, Evidence.AWAY),
        (FaultCode.PROVIDER_UNAVAILABLE, Evidence.AWAY),
        (FaultCode.PROVIDER_OVERLOADED, Evidence.AWAY),
        (FaultCode.RATE_LIMITED, Evidence.ANSWERED),
        (FaultCode.MODEL_LOADING, Evidence.ANSWERED),
        (FaultCode.PROVIDER_ERROR, Evidence.ANSWERED),
        (FaultCode.AUTH_FAILED, Evidence.ANSWERED),
        (FaultCode.CONNECTIONS_BUSY, Evidence.UNKNOWN),
        (FaultCode.NOT_SENT, Evidence.UNKNOWN),
        (FaultCode.CONNECTION_LOST, Evidence.UNKNOWN),
        (FaultCode.ATTEMPT_TIMEOUT, Evidence.UNKNOWN),
    ],
)
def test_throttling_is_an_answer(code: FaultCode | None, evidence: Evidence) -> None:
    assert evidence_of(None if code is None else Fault(code)) is evidence


@dataclass
class Clock:
    now: float = 50.0

    def __call__(self) -> float:
        return self.now


def fail(router: Router, model: str, times: int = POLICY.failures) -> None:
    for _ in range(times):
        go = router.admit("vllm", model)
        assert isinstance(go, Go)
        go.settle(Fault(FaultCode.PROVIDER_UNREACHABLE))
        go.abandon()  # what settled a call is what counts


def gauge() -> float:
    return REGISTRY.get_sample_value("inferd_breakers_open", {"provider": "vllm"}) or 0.0


def test_the_router_has_a_breaker_for_each_model_and_says_when_it_turns() -> None:
    clock, before = Clock(), gauge()
    router = Router(POLICY, clock)
    assert router.hold("vllm", "a") is None
    with capture_logs() as logs:
        fail(router, "a")
        wait = router.admit("vllm", "a")
        assert isinstance(wait, Wait)
        assert (wait.reason.code, wait.reason.billed) == ("provider_paused", "no")
        assert wait.reason.message == (
            "No call was sent: vllm/a did not respond 5 times in a row, so one job at a time tries it."
        )
        assert router.hold("vllm", "a") is not None
        assert isinstance(router.admit("vllm", "b"), Go)
        assert isinstance(router.admit("openai", "a"), Go)
        assert gauge() == before + 1

        clock.now += 2
        go = router.admit("vllm", "a")
        assert isinstance(go, Go)
        go.abandon()
        again = router.admit("vllm", "a")
        assert isinstance(again, Go)
        again.settle(None)
        assert isinstance(router.admit("vllm", "a"), Go)
    assert gauge() == before
    assert [(line["event"], line["model"]) for line in logs] == [("breaker_opened", "a"), ("breaker_closed", "a")]
    assert router._breakers == {}


def test_what_callers_make_up_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "_MOST", 3)
    router, before = Router(POLICY, Clock()), gauge()
    fail(router, "first")
    for number in range(5):
        fail(router, f"model-{number}", times=1)
    assert len(router._breakers) == 3
    assert gauge() == before
