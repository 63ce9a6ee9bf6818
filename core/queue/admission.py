"""What a task of core/queue/worker.py is, and how those that a claim brought are asked for together before they run.

One statement for all of them costs less than one wait for each, and only what may run becomes a task.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never


@dataclass(frozen=True, slots=True)
class Admitted:
    """A member's task may run now; `claim` is what it is given besides the member."""

    claim: object


# A task gets arq's ctx and a member, and its claim if it was asked for; it returns None, or after how many seconds it
# wants to run again.
Task = Callable[..., Awaitable[float | None]]
# Where a task is not to run: after how many seconds to ask again, if at all; or what it would have raised.
Admission = Admitted | float | BaseException | None
# Asks for many members of one task.
Admit = Callable[[dict[str, object], Sequence[str]], Awaitable[Sequence[Admission]]]

# The task has no Admit.
UNASKED: Final = Admitted(None)


async def run_admitted(task: Task, ctx: dict[str, object], member: str, admission: Admission) -> float | None:
    """What the task returns or raises; or what its admission says instead."""
    match admission:
        case Admitted() if admission is UNASKED:
            return await task(ctx, member)
        case Admitted(claim=claim):
            return await task(ctx, member, claim)
        case BaseException():
            raise admission
        case float() | int() | None:
            return admission
        case _:
            assert_never(admission)
