"""What was done to the fleet and when, so that what a job suffered can be laid beside it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outage:
    """A store, a row or the provider was out of reach from `start` to `end` (Unix seconds)."""

    name: str
    start: float
    end: float
    note: str = ""


def seconds_of(outages: Iterable[Outage], start: float, end: float) -> float:
    """How many of the seconds between `start` and `end` lie in an outage."""
    found, covered_to = 0.0, start
    for each in sorted(outages, key=lambda outage: outage.start):
        begin, stop = max(each.start, covered_to), min(each.end, end)
        if stop > begin:
            found += stop - begin
            covered_to = stop
    return found
