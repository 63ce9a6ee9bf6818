"""A process may end at every call that it makes for a job, before it or right after it: nothing is lost, and nothing is
done twice but a call to the provider whose answer died with the process.

Real API and worker processes, by their entry points (tests/proofs/dying_process.py). `make prove` lets them die at each
step; the default run at some of them, the same ones each time.
"""

import random
from typing import Final

from tests.proofs.deaths import (
    post,
    steps_of_a_worker,
    steps_of_an_api,
    submit_to_a_dying_api,
    submit_to_a_dying_worker,
)
from tests.proofs.edges import Mishap
from tests.proofs.fault_stage import FaultStage
from tests.proofs.fork_server import ForkServer
from tests.proofs.long_run import LONG
from tests.support.processes import serve_api

DEATHS: Final = (Mishap.DIES_BEFORE, Mishap.DIES_AFTER)
WORKER_DEATHS: Final = None if LONG else 8
API_DEATHS: Final = None if LONG else 3


async def test_a_worker_may_die_at_any_step(stage: FaultStage, fork_server: ForkServer) -> None:
    problems = []
    for number, (step, death) in enumerate(_some(await steps_of_a_worker(stage, fork_server), WORKER_DEATHS)):
        key = f"{stage.settings.redis.prefix}-{number}"
        job_id = await submit_to_a_dying_worker(stage, fork_server, key, step, death)
        await stage.repair(job_id)
        # Between the call and its end being written, the answer dies with the worker.
        most_calls = 2 if step.startswith(("job > http", "flush-apply")) else 1
        if found := (await stage.evidence()).problems(job_id, most_calls=most_calls):
            problems.append((step, death, found))
    assert problems == []


async def test_an_api_may_die_at_any_step(stage: FaultStage, fork_server: ForkServer) -> None:
    problems = []
    async with serve_api(stage.settings) as healthy:
        for number, (step, death) in enumerate(_some(await steps_of_an_api(stage, fork_server), API_DEATHS)):
            key = f"{stage.settings.redis.prefix}-{number}"
            await submit_to_a_dying_api(stage, fork_server, key, step, death)
            job_id = await post(stage, healthy.url, key)
            await stage.repair(job_id)
            if found := (await stage.evidence()).problems(job_id, most_calls=1):
                problems.append((step, death, found))
    assert problems == []
    # No submit made two.
    assert len((await stage.evidence()).view.jobs) == len({call.job_id for call in stage.fake.calls})


def _some(steps: list[str], count: int | None) -> list[tuple[str, Mishap]]:
    deaths = [(step, death) for step in steps for death in DEATHS]
    return deaths if count is None else random.Random(1).sample(deaths, count)  # noqa: S311 - a seed is the point
