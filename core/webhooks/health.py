"""Which hosts seem dead to this process, so that they get one try at a time instead of all its slots. Pure.

Only what keeps a slot busy counts: no connection, or no answer. An error that comes at once costs nobody else anything.
Fed by core/webhooks/deliver.py; core/webhooks/sql/claim.sql holds the suspects back.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

_SUSPECT_AFTER: Final = 3
_MOST_HOSTS: Final = 10_000


@dataclass(slots=True)
class Health:
    """One for a process. `quota` is how many of its slots the suspects may have, all together."""

    quota: int
    _silences: Counter[str] = field(default_factory=Counter)
    _sending: Counter[str] = field(default_factory=Counter)

    def suspects(self) -> frozenset[str]:
        return frozenset(host for host, count in self._silences.items() if count >= _SUSPECT_AFTER)

    def room(self) -> int:
        """How many more may go to suspects."""
        return max(0, self.quota - sum(self._sending[host] for host in self.suspects()))

    def begins(self, host: str) -> None:
        self._sending[host] += 1

    def ended(self, host: str, *, silent: bool) -> None:
        self._sending[host] -= 1
        if self._sending[host] <= 0:
            del self._sending[host]
        if not silent:
            self._silences.pop(host, None)
        elif host in self._silences or len(self._silences) < _MOST_HOSTS:
            self._silences[host] += 1
