"""A short run of chaos with fixed seeds and short leases; `make chaos` is the long one."""

import pytest

from tests.chaos.run import Plan, report, run


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [20261121])
async def test_five_hundred_jobs_under_faults(seed: int) -> None:
    plan = Plan(
        jobs=500,
        seed=seed,
        every=(0.3, 0.8),
        workers=2,
        apis=1,
        lease_seconds=2.0,
        heartbeat_seconds=0.5,
        sweep_seconds=0.5,
        faults=14,
    )
    outcome = await run(plan)
    assert outcome.met, report(plan, outcome)
    assert sum(outcome.faults.values()) >= 5
    assert sum(outcome.verdict.states.values()) == 500
