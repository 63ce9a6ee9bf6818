"""What a scenario returns: rows of the report, computed from rounds that alternate with the baseline."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from pydantic import JsonValue

Measure = Callable[[], Awaitable[float]]

NOT_INSTALLED: Final = "not installed: `make bench` installs it"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. `ratio` is inferd against the reference; more is better unless `target` says less."""

    name: str
    target: str
    reference: str
    result: str
    ratio: float | None
    met: bool | None
    details: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rounds:
    """The values of inferd and of its reference, one for each round."""

    ours: Sequence[float]
    reference: Sequence[float]

    @property
    def ratio(self) -> float | None:
        """The ratio of the medians; None without a reference."""
        return median(self.ours) / median(self.reference) if self.reference else None

    def details(self, **more: JsonValue) -> dict[str, JsonValue]:
        """Returns the values for the report's JSON."""
        return {
            "ours": [round(value, 3) for value in self.ours],
            "reference": [round(value, 3) for value in self.reference],
            **more,
        }


async def alternate(rounds: int, ours: Measure, reference: Measure | None) -> Rounds:
    """Runs both `rounds` times in turns; each goes first equally often. `reference` None: it is not installed."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        order = ((0, ours), (1, reference)) if number % 2 == 0 else ((1, reference), (0, ours))
        for index, measure in order:
            if measure is not None:
                found[index].append(await measure())
    return Rounds(*found)


def at_least(name: str, factor: float, rounds: Rounds, *, of: str, unit: str = "/s", **details: JsonValue) -> Row:
    """Returns a row whose target is at least `factor` times the reference `of`."""
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
