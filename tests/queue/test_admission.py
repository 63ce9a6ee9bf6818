"""Members of a claim are asked for together, and only those that may run become tasks."""

import asyncio
from collections.abc import Sequence

from core.domain.ids import new_job_id
from core.domain.run_again import DONE, After, RunAgain
from core.queue.admission import Admission, Admitted
from core.queue.keys import Lane, job_member
from core.queue.payload import RUN_JOB
from tests.queue.lanes import Lanes, Runs
from tests.support.waiting import eventually


class Asked:
    """Admits what `answer` says, and notes who was asked for with whom."""

    def __init__(self, answers: dict[str, Admission]) -> None:
        self.answers = answers
        self.together: list[list[str]] = []

    async def admit(self, _context: dict[str, object], members: Sequence[str]) -> list[Admission]:
        self.together.append(list(members))
        return [self.answers.pop(member, Admitted("a claim")) for member in members]


class Claimed(Runs):
    """Tasks that are given a claim."""

    async def claimed(self, context: dict[str, object], member: str, claim: object) -> RunAgain:
        assert claim == "a claim"
        return await self.task(context, member)


async def test_what_a_claim_brings_is_asked_for_at_once(lanes: Lanes) -> None:
    runs, asked = Claimed(), Asked({})
    members = await lanes.enqueue(10, Lane.INTERACTIVE)
    async with lanes.worker(runs, tasks={RUN_JOB: runs.claimed}, admit={RUN_JOB: asked.admit}):
        await runs.until(lambda: len(runs.members) == 10 and not runs.running)
        await eventually(lambda: _is_empty(lanes))
    assert asked.together == [members]


async def test_what_is_not_admitted_makes_room_for_what_is(lanes: Lanes) -> None:
    runs = Claimed()
    refused, later, again, *admitted = await lanes.enqueue(6, Lane.INTERACTIVE)
    asked = Asked({refused: DONE, later: After(3600), again: After(0.05)})
    async with lanes.worker(runs, slots=4, tasks={RUN_JOB: runs.claimed}, admit={RUN_JOB: asked.admit}) as worker:
        await runs.until(lambda: set(runs.members) == {again, *admitted} and not runs.running)
        await eventually(lambda: worker.job_counter == 0)
    assert await lanes.members(Lane.INTERACTIVE) == [later]
    assert await lanes.due_in_ms(later, Lane.INTERACTIVE) > 3_500_000


async def test_an_error_is_each_tasks_own(lanes: Lanes) -> None:
    runs = Claimed()
    failing, fine = await lanes.enqueue(2, Lane.INTERACTIVE)
    asked = Asked({failing: ConnectionError("the store is away")})
    async with lanes.worker(runs, tasks={RUN_JOB: runs.claimed}, admit={RUN_JOB: asked.admit}) as worker:
        await runs.until(lambda: runs.members == [fine] and not runs.running)
        await eventually(lambda: worker.job_counter == 0)
        assert worker.jobs_failed == 1
    assert await lanes.members(Lane.INTERACTIVE) == [failing]
    assert await lanes.due_in_ms(failing, Lane.INTERACTIVE) > 0


async def test_what_came_again_while_it_was_asked_for_is_asked_for_anew(lanes: Lanes) -> None:
    """The first answer was of before: without a second one, what was enqueued since would be forgotten."""
    runs, job_id = Claimed(), new_job_id()
    member = job_member(job_id)
    may_answer = asyncio.Event()
    asked = Asked({member: DONE})

    async def slowly(context: dict[str, object], members: Sequence[str]) -> list[Admission]:
        found = await asked.admit(context, members)
        await may_answer.wait()
        return found

    await lanes.enqueue_again([job_id], Lane.INTERACTIVE)
    async with lanes.worker(runs, tasks={RUN_JOB: runs.claimed}, admit={RUN_JOB: slowly}) as worker:
        await eventually(lambda: asked.together == [[member]])
        first = worker.held[member].token
        await lanes.enqueue_again([job_id], Lane.INTERACTIVE)
        await eventually(lambda: worker.held[member].token != first)
        may_answer.set()
        await runs.until(lambda: runs.members == [member] and not runs.running)
        await eventually(lambda: _is_empty(lanes))


async def _is_empty(lanes: Lanes) -> bool:
    return await lanes.count() == 0
