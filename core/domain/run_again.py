"""When a task is to run again, if at all: what each task of a worker returns and core/queue writes to Redis."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Done:
    """Not again: what the task was about has ended, or is somebody else's."""


@dataclass(frozen=True, slots=True)
class AtFront:
    """At once, before what waits in its lane: it had begun already."""


@dataclass(frozen=True, slots=True)
class After:
    """In so many seconds; a new id with 0 takes its turn behind what waits."""

    seconds: float

    @property
    def milliseconds(self) -> int:
        """As Redis counts them; a time that has passed is now."""
        return max(0, int(self.seconds * 1000))


RunAgain = Done | AtFront | After

DONE: Final = Done()
AT_FRONT: Final = AtFront()
NOW: Final = After(0.0)


def again_in(seconds: float) -> AtFront | After:
    """For what has begun: it was in line once, so without a wait it goes to the front."""
    return After(seconds) if seconds > 0 else AT_FRONT
