"""How many requests of this process are open to each address, and when there is room for another. Pure.

Thousands of host names may lead to one address, so requests are counted by the address that the socket connects to. A
tenant may have half of an address's places, so that it can't shut others out of a server that many share. IPv6 is
counted by /64, which is what one customer is given. Used by post.py for each connection.
"""

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from core.domain.ids import TenantId
from core.webhooks.egress.addresses import unwrapped

_PREFIX_OF_A_CUSTOMER: Final = 64
_LONGEST_WAIT_SECONDS: Final = 60.0
_SHORTEST_WAIT_SECONDS: Final = 0.2


@dataclass(slots=True)
class AddressPlaces:
    """One per process. `most` requests may be open to one address; `seconds` is how long one may take."""

    most: int
    seconds: float
    _all: Counter[str] = field(default_factory=Counter)
    _of_tenant: Counter[tuple[str, TenantId]] = field(default_factory=Counter)
    # Until when the places of an address are reserved by those that wait.
    _booked_until: dict[str, float] = field(default_factory=dict)

    def enter(self, address: str, tenant_id: TenantId) -> bool:
        """Takes a place; False when there is none."""
        key = _key(address)
        half = max(1, self.most // 2)
        if self._all[key] >= self.most or self._of_tenant[key, tenant_id] >= half:
            return False
        self._all[key] += 1
        self._of_tenant[key, tenant_id] += 1
        return True

    def leave(self, address: str, tenant_id: TenantId) -> None:
        key = _key(address)
        self._all[key] -= 1
        self._of_tenant[key, tenant_id] -= 1
        if self._of_tenant[key, tenant_id] <= 0:
            del self._of_tenant[key, tenant_id]
        if self._all[key] <= 0:
            del self._all[key]
            self._booked_until.pop(key, None)

    def wait(self, address: str, now: float) -> float:
        """Returns after how many seconds to try again: later with each call, as places become free one by one."""
        key = _key(address)
        spacing = self.seconds / max(1, self.most // 2)
        booked = max(now, self._booked_until.get(key, 0.0)) + spacing
        wait = min(max(booked - now, _SHORTEST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)
        self._booked_until[key] = min(booked, now + _LONGEST_WAIT_SECONDS)
        return wait


def _key(address: str) -> str:
    found = unwrapped(ip_address(address.partition("%")[0]))
    if isinstance(found, IPv6Address):
        return str(ip_network((found, _PREFIX_OF_A_CUSTOMER), strict=False))
    return str(found)
