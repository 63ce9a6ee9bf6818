"""What a task of core/queue/worker.py is, and how those that a claim brought are asked for together before they run.

One statement for all of them costs less than one wait for each, and only what may run becomes a task.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from core.queue.claims import Acquired
from core.queue.keys import parse_member


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
_UNASKED: Final = Admitted(None)


@dataclass(slots=True)
class Admissions:
    """What was answered for members whose tasks have not begun, of the tasks that `admit` names."""

    admit: Mapping[str, Admit]
    _answers: dict[str, tuple[str, Admission]] = field(default_factory=dict)

    def sort(
        self, taken: Sequence[Acquired], default_task: str
    ) -> tuple[Sequence[Acquired], Mapping[str, Sequence[Acquired]]]:
        """Those whose tasks begin unasked, and by the task's name those that are asked for together."""
        alone: list[Acquired] = []
        together: dict[str, list[Acquired]] = {}
        for each in taken:
            name = each.function or default_task
            if name in self.admit and parse_member(each.member) is not None:
                together.setdefault(name, []).append(each)
            else:
                alone.append(each)
        return alone, together

    async def ask(self, name: str, ctx: dict[str, object], asked: Sequence[Acquired]) -> None:
        """Keeps an answer for each."""
        answers: Sequence[Admission]
        try:
            answers = await self.admit[name](ctx, [each.member for each in asked])
        except Exception as error:  # noqa: BLE001 - each task says so, as if it had asked by itself
            answers = [error] * len(asked)
        for each, answer in zip(asked, answers, strict=True):
            self._answers[each.member] = (each.token, answer)

    def token(self, held: Acquired) -> str:
        """Of the hold under which it was asked for: it may have come to us again since."""
        return self._answers.get(held.member, (held.token, _UNASKED))[0]

    def pop(self, member: str) -> Admission:
        """The answer, once."""
        return self._answers.pop(member, ("", _UNASKED))[1]


async def run_admitted(task: Task, ctx: dict[str, object], member: str, admission: Admission) -> float | None:
    """What the task returns or raises; or what its admission says instead."""
    match admission:
        case Admitted() if admission is _UNASKED:
            return await task(ctx, member)
        case Admitted(claim=claim):
            return await task(ctx, member, claim)
        case BaseException():
            raise admission
        case float() | int() | None:
            return admission
        case _:
            assert_never(admission)
