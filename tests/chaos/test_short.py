"""Short runs of chaos with fixed seeds and short leases; `make chaos` is the long one."""

import pytest

from tests.chaos.outcome import report
from tests.chaos.plan import Plan
from tests.chaos.slow_run import run_slow
from tests.chaos.storm import run_storm

_SLOW = ("pg_stall", "half_open", "lock_rows", "lock_endpoint")
_SHORT = Plan(
    seed=20261121,
    quick=True,
    jobs=300,
    every=(0.3, 0.8),
    workers=2,
    apis=1,
    lease_seconds=2.0,
    heartbeat_seconds=0.5,
    sweep_seconds=0.5,
    faults=9,
    call_scale=0.5,
    # Longer than a lease, and longer than a statement is waited for, with calls under way that outlive both.
    statement_seconds=1.0,
    webhook_seconds=3.0,
    stall_seconds=(2.8, 2.8),
    stalls=1,
    lock_seconds=2.0,
    in_flight=30,
    call_seconds=(2.0, 4.0),
    gap_seconds=(0.1, 0.3),
)


@pytest.mark.timeout(120)
async def test_three_hundred_jobs_under_faults() -> None:
    outcome = await run_storm(_SHORT)
    assert outcome.met, report(outcome)
    assert len(outcome.lines) >= 5
    assert sum(outcome.verdict.states.values()) == 300


@pytest.mark.timeout(120)
async def test_slow_is_not_dead() -> None:
    outcome = await run_slow(_SHORT, _SLOW)
    assert outcome.met, report(outcome)
    assert outcome.verdict.calls > _SHORT.in_flight
