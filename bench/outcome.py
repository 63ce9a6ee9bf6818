"""What a scenario hands back: rows of the report, made of rounds that were measured alternately."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from pydantic import JsonValue

Measure = Callable[[], Awaitable[float]]

NOT_INSTALLED: Final = "not installed: `make bench` installs it"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. `ratio` is ours against the reference, so that more is better unless the target says."""

    name: str
    target: str
    reference: str
    result: str
    ratio: float | None
    met: bool | None
    details: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rounds:
    """The values of each round, in order, of inferd and of its reference."""

    ours: Sequence[float]
    reference: Sequence[float]

    @property
    def ratio(self) -> float | None:
        """Of the medians; None without a reference."""
        return median(self.ours) / median(self.reference) if self.reference else None

    def details(self, **more: JsonValue) -> dict[str, JsonValue]:
        """For the report's JSON."""
        return {
            "ours": [round(value, 3) for value in self.ours],
            "reference": [round(value, 3) for value in self.reference],
            **more,
        }


async def alternate(rounds: int, ours: Measure, reference: Measure | None) -> Rounds:
    """Runs both `rounds` times, one after the other, each first as often as the other. None: it is not installed."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        order = ((0, ours), (1, reference)) if number % 2 == 0 else ((1, reference), (0, ours))
        for index, measure in order:
            if measure is not None:
                found[index].append(await measure())
    return Rounds(*found)


def at_least(name: str, factor: float, rounds: Rounds, *, of: str, unit: str = "/s", **details: JsonValue) -> Row:
    """A row whose target is to do at least `factor` times as much as the reference `of`."""
    ratio = rounds.ratio
    return Row(
        name=name,
        target=f"≥ {factor:g}× {of}",
        reference=f"{median(rounds.reference):,.0f}{unit}" if rounds.reference else NOT_INSTALLED,
        result=f"{median(rounds.ours):,.0f}{unit}",
        ratio=None if ratio is None else round(ratio, 2),
        met=None if ratio is None else ratio >= factor,
        details=rounds.details(**details),
    )
