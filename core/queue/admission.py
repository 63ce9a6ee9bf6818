"""What a task of core/queue/worker.py is, and how the members of one claim are admitted together before they run.

One statement for all of them costs less than one wait for each, and only what may run becomes a task.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from core.domain.run_again import After, AtFront, Done, RunAgain
from core.queue.claims import Acquired
from core.queue.keys import parse_member


@dataclass(frozen=True, slots=True)
class Admitted:
    """A member's task may run now; `claim` is its further argument."""

    claim: object


# A task gets arq's ctx and a member, and its claim if its task has an Admit.
Task = Callable[..., Awaitable[RunAgain]]
# Where a task is not to run now: when to ask again; or what it would have raised.
Admission = Admitted | RunAgain | BaseException
# Decides about many members of one task at once; one Admission for each.
Admit = Callable[[dict[str, object], Sequence[str]], Awaitable[Sequence[Admission]]]

# The task has no Admit.
_UNASKED: Final = Admitted(None)


@dataclass(slots=True)
class Admissions:
    """What was decided about members whose tasks have not begun. `admit` is by the task's name."""

    admit: Mapping[str, Admit]
    _decided: dict[str, tuple[str, Admission]] = field(default_factory=dict)

    def sort(
        self, taken: Sequence[Acquired], default_task: str
    ) -> tuple[Sequence[Acquired], Mapping[str, Sequence[Acquired]]]:
        """Those that begin at once, and by the task's name those that are admitted together."""
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
        """Decides about all of them and keeps what was decided."""
        decided: Sequence[Admission]
        try:
            decided = await self.admit[name](ctx, [each.member for each in asked])
        except Exception as error:  # noqa: BLE001 - each task raises it, as if it had asked by itself
            decided = [error] * len(asked)
        for each, admission in zip(asked, decided, strict=True):
            self._decided[each.member] = (each.token, admission)

    def token(self, held: Acquired) -> str:
        """The token of the hold that was decided about: the member may have come to us again since."""
        return self._decided.get(held.member, (held.token, _UNASKED))[0]

    def pop(self, member: str) -> Admission:
        """What was decided about the member. It is kept no longer."""
        return self._decided.pop(member, ("", _UNASKED))[1]


async def run_admitted(task: Task, ctx: dict[str, object], member: str, admission: Admission) -> RunAgain:
    """What the task returns or raises; or what its admission says instead."""
    match admission:
        case Admitted() if admission is _UNASKED:
            return await task(ctx, member)
        case Admitted(claim=claim):
            return await task(ctx, member, claim)
        case BaseException():
            raise admission
        case Done() | AtFront() | After():
            return admission
        case _ as never:
            assert_never(never)
