"""Which hosts seem dead to this process, so that they get one request at a time and not all its slots. Pure.

Only what keeps a slot busy counts: no connection, or no answer. An error that comes at once costs nobody else anything.
The table is bounded: the host that was silent longest ago is forgotten first, and of a tenant with many dead hosts its
own, so that one tenant's can't push out what is known of others'. What is forgotten is learnt anew by three silences.
Fed by core/webhooks/deliveries/deliver.py; core/webhooks/sql/claim.sql holds the suspects back.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final

from core.domain.ids import TenantId

_SUSPECT_AFTER: Final = 3
MOST_HOSTS: Final = 10_000
MOST_OF_A_TENANT: Final = 1_000


@dataclass(slots=True)
class _Silent:
    """A host that did not answer, and for whom it was called when it first did not."""

    tenant_id: TenantId
    count: int = 0


@dataclass(slots=True)
class Health:
    """One for a process. `quota` is how many of its slots the suspects may have, all together."""

    quota: int
    # Both from the longest ago to the latest.
    _silent: OrderedDict[str, _Silent] = field(default_factory=OrderedDict)
    _of_tenant: dict[TenantId, OrderedDict[str, None]] = field(default_factory=dict)
    _sending: Counter[str] = field(default_factory=Counter)

    def suspects(self) -> frozenset[str]:
        return frozenset(host for host, silent in self._silent.items() if silent.count >= _SUSPECT_AFTER)

    def room(self) -> int:
        """How many more may go to suspects."""
        busy = sum(count for host, count in self._sending.items() if self._is_suspect(host))
        return max(0, self.quota - busy)

    def begins(self, host: str) -> None:
        self._sending[host] += 1

    def ended(self, host: str, tenant_id: TenantId, *, silent: bool) -> None:
        self._sending[host] -= 1
        if self._sending[host] <= 0:
            del self._sending[host]
        if not silent:
            self._forget(host)
            return
        if host not in self._silent:
            self._make_room(tenant_id)
            self._silent[host] = _Silent(tenant_id)
        found = self._silent[host]
        found.count += 1
        self._silent.move_to_end(host)
        own = self._of_tenant.setdefault(found.tenant_id, OrderedDict())
        own[host] = None
        own.move_to_end(host)

    def _is_suspect(self, host: str) -> bool:
        silent = self._silent.get(host)
        return silent is not None and silent.count >= _SUSPECT_AFTER

    def _make_room(self, tenant_id: TenantId) -> None:
        own = self._of_tenant.get(tenant_id)
        if own is not None and len(own) >= MOST_OF_A_TENANT:
            self._forget(next(iter(own)))
        elif len(self._silent) >= MOST_HOSTS:
            self._forget(next(iter(self._silent)))

    def _forget(self, host: str) -> None:
        silent = self._silent.pop(host, None)
        if silent is None:
            return
        own = self._of_tenant[silent.tenant_id]
        del own[host]
        if not own:
            del self._of_tenant[silent.tenant_id]
