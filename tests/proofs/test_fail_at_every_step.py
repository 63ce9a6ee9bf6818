"""Every single call that one job makes to PostgreSQL, Redis, its provider and its receiver may fail, at no cost.

The calls are counted by running a job once. Then a job is run for each of them: the call fails, in two ways, or only
its answer is lost, or the task that makes it is cancelled, or the task that waits for it. What is left is as a dead
process leaves it. Then the leases run out and one healthy worker must bring every job to the same correct end.
"""

import random
from collections.abc import Sequence
from typing import Final

from structlog.testing import capture_logs

from core.domain.ids import JobId
from tests.proofs.edges import Mishap, Plan, Step, watch_edges
from tests.proofs.fault_stage import FaultStage, side_by_side
from tests.proofs.long_run import LONG

CANCELLED: Final = (Mishap.STEP_CANCELLED, Mishap.CALLER_CANCELLED)
PAIRS: Final = 1000 if LONG else 24
# Runs before the ones that count.
_REHEARSALS: Final = 2


async def test_a_job_survives_a_fault_at_every_step(stage: FaultStage) -> None:
    faults = _faults(await _steps(stage))
    plans = [Plan({step: mishap}) for step, mishap in faults]
    await _all_end_well(stage, plans)
    assert [plan.mishaps for plan in plans if not plan.reached] == []


async def test_a_job_survives_two_faults(stage: FaultStage) -> None:
    """A second fault, in what comes of the first one: pairs drawn at random, the same ones each time."""
    draw = random.Random(1)  # noqa: S311 - a seed is the point
    faults = _faults(await _steps(stage))
    await _all_end_well(stage, [Plan(dict(draw.sample(faults, 2))) for _ in range(PAIRS)])


async def _steps(stage: FaultStage) -> list[Step]:
    """The second rehearsal's, when Redis knows the scripts."""
    plan = Plan()
    with watch_edges():
        for number in range(_REHEARSALS):
            plan = Plan()
            await stage.run(number, plan)
    # Else something is not watched any more.
    assert {"http provider", "http receiver", "redis script CLAIM", "redis script FINISH"} < {
        step.call for step in plan.taken
    }
    return plan.taken


def _faults(steps: Sequence[Step]) -> list[tuple[str, Mishap]]:
    return [
        (str(step), mishap)
        for step in steps
        for mishap in (Mishap.CUT, Mishap.DENIED, Mishap.LOST, *CANCELLED)
        # Nobody can cancel what the pool does by itself.
        if not (mishap is Mishap.STEP_CANCELLED and step.part == "pool")
    ]


async def _all_end_well(stage: FaultStage, plans: Sequence[Plan]) -> None:
    # Nobody reads so many tracebacks, and drawing them takes longer than all the rest.
    with watch_edges(), capture_logs():
        job_ids: list[JobId] = await side_by_side(stage, plans, first=_REHEARSALS)
    await stage.time_passes(_REHEARSALS + len(plans))
    evidence = await stage.a_healthy_worker_ends(job_ids)
    assert len(evidence.view.jobs) == _REHEARSALS + len(plans)
    problems = [
        (plan.mishaps, found)
        for plan, job_id in zip(plans, job_ids, strict=True)
        if (found := evidence.problems(job_id, most_calls=_most_calls(plan)))
    ]
    assert problems == []


def _most_calls(plan: Plan) -> int:
    """One more only where the answer of a call was lost, or where a run was cut off."""
    return 1 + sum(
        mishap in CANCELLED or (mishap is Mishap.LOST and "http provider" in step)
        for step, mishap in plan.mishaps.items()
    )
