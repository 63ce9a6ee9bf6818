"""A worker's slots: how many a claim is for, and how they are split over weighted lanes, exactly over time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from core.queue.keys import LANE_WEIGHTS, Lane

_KEPT_TENTH: Final = 10
_KEPT_QUARTER: Final = 4
_KEPT_TWENTIETH: Final = 20
_KEPT_MOST: Final = 4


def kept_free(slots: int) -> int:
    """Of a worker's slots, those that no tenant's backlog may take while others are there: a tenth, and four at least,
    as long as that is no more than a quarter.
    """
    return max(slots // _KEPT_TENTH, min(_KEPT_QUARTER, slots // _KEPT_QUARTER))


def kept_for_higher(slots: int, lanes: int) -> list[int]:
    """Of a worker's slots, those that each lane and the ones after it leave to the lanes before it.

    A few for each step down, a quarter at most: what takes long in the lower lanes can't hold all slots.
    """
    step = min(_KEPT_MOST, max(1, slots // _KEPT_TWENTIETH))
    return [min(lane * step, slots // _KEPT_QUARTER) for lane in range(lanes)]


def rooms(slots: int, held: Sequence[int]) -> list[int]:
    """How many more each lane and the ones after it may hold together, when so many of each are held."""
    kept = kept_for_higher(slots, len(held))
    return [max(0, slots - kept[lane] - sum(held[lane:])) for lane in range(len(held))]


@dataclass(slots=True)
class Shares:
    """Smooth weighted round-robin, as nginx does it: each time every lane earns its weight, the richest is served.

    https://github.com/phusion/nginx/commit/27e94984486058d73157038f7950a0a36ecc6e35
    """

    weights: Sequence[int]
    _credit: list[int] = field(default_factory=list)

    def split(self, wanted: int) -> list[int]:
        """`wanted` slots as a number for each lane; the order of service is kept from call to call."""
        if not self._credit:
            self._credit = [0] * len(self.weights)
        total = sum(self.weights)
        rounds, rest = divmod(wanted, total)
        # A whole round returns every credit to where it was, so only the rest needs playing through.
        shares = [weight * rounds for weight in self.weights]
        for _ in range(rest):
            for lane, weight in enumerate(self.weights):
                self._credit[lane] += weight
            richest = max(range(len(self.weights)), key=self._credit.__getitem__)
            self._credit[richest] -= total
            shares[richest] += 1
        return shares


class Slots:
    """The slots of a worker that serves `lanes`, in order of preference, and how many each lane has taken."""

    def __init__(self, total: int, lanes: Sequence[Lane]) -> None:
        self._total = total
        self._taken = dict.fromkeys(lanes, 0)
        self._shares = Shares([LANE_WEIGHTS[lane] for lane in lanes])

    def take(self, lane: Lane) -> None:
        self._taken[lane] += 1

    def give_back(self, lane: Lane) -> None:
        self._taken[lane] -= 1

    def rooms(self) -> list[int]:
        """How many more each lane and the ones after it may hold together."""
        return rooms(self._total, list(self._taken.values()))

    def has_room(self, lane: Lane) -> bool:
        """Whether the lane may take one more slot."""
        return min(self.rooms()[: list(self._taken).index(lane) + 1]) > 0

    def split(self, wanted: int, *, contested: bool) -> tuple[list[int], int]:
        """`wanted` slots as each lane's share, and how many of them are kept for tenants that ask for little."""
        kept = min(wanted, kept_free(self._total)) if contested else 0
        return self._shares.split(wanted - kept), kept
