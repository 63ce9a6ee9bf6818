"""How a claim of n is split over weighted lanes, exactly over time: no lane starves, whatever n is. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Shares:
    """Smooth weighted round-robin, as nginx does it: each turn every lane earns its weight, the richest is served.

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
