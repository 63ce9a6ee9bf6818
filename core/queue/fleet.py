"""How many slots a tenant may use at once: a share of the fleet's, or a number of its own.

A worker keeps one TenantCaps, updates it with what it last read of the fleet, and uses it at every claim. The caps are
enforced by the claim's script (core/queue/lua/claim.lua) and by the fallback (core/jobs/fallback.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from core.domain.ids import TenantId

# In a claim's call: no cap.
UNCAPPED: Final = -1


@dataclass(frozen=True, slots=True)
class Fleet:
    """All workers' slots (0: not known yet), how many tenants there are, and the caps of those that have their own.

    `tenants` need not be exact beyond "more than one".
    """

    slots: int = 0
    tenants: int = 2
    max_slots: Mapping[TenantId, int] = field(default_factory=dict)


class TenantCaps:
    """The fleet as it was last read. `share` is a tenant's part of the fleet's slots, unless it is alone."""

    def __init__(self, share: float = 1.0, fleet: Fleet | None = None) -> None:
        self._share = share
        self.set(fleet or Fleet())

    def set(self, fleet: Fleet) -> None:
        """Replaces the fleet and derives the caps from it."""
        self.fleet = fleet
        self.own = {tenant_id.hex: slots for tenant_id, slots in fleet.max_slots.items()}
        shared = fleet.tenants > 1 and fleet.slots > 0 and self._share < 1
        self.default = max(1, int(self._share * fleet.slots)) if shared else UNCAPPED

    @property
    def are_counted(self) -> bool:
        """Whether anybody needs to know who uses how many slots: a tenant alone without a cap costs nothing."""
        return self.fleet.tenants > 1 or bool(self.fleet.max_slots)

    def of(self, tenant_id: TenantId) -> int | None:
        """The most slots that the tenant may use at once; None: as many as there are."""
        found = self.fleet.max_slots.get(tenant_id, self.default)
        return None if found == UNCAPPED else found
