"""How much of this process one tenant uses: requests that are being served, and requests that wait for a job.

`enter` is called by api/http/admission.py once the caller is known, `leave` by api/http/middleware.py when the response
is out. A long poll or an event stream counts as a wait instead, while it waits. Beyond a bound the response is 429.
Each process counts by itself: n processes admit n times as much.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from core.domain.errors import TooManyRequests
from core.domain.ids import TenantId
from core.settings import ApiSettings

_TICKET: Final = "open_request_of"
_RETRY_SECONDS: Final = 1.0


@dataclass(slots=True)
class OpenRequests:
    """One for a process. `requests` and `waits` are what is open now; a tenant without any is not in them."""

    settings: ApiSettings
    requests: dict[TenantId, int] = field(default_factory=dict)
    waits: dict[TenantId, int] = field(default_factory=dict)

    def enter(self, state: dict[str, Any], tenant_id: TenantId) -> None:
        """Counts the request whose ASGI state this is, once. Raises TooManyRequests."""
        if _TICKET in state:
            return
        most = self.settings.requests_per_tenant
        if self.requests.get(tenant_id, 0) >= most:
            raise TooManyRequests(
                f"{most} requests of this tenant are open already; send the next one when one has ended.",
                code="too_many_requests",
                retry_after=_RETRY_SECONDS,
            )
        _add(self.requests, tenant_id)
        state[_TICKET] = tenant_id

    def leave(self, state: dict[str, Any]) -> None:
        """The request is over; one that never entered may leave too."""
        tenant_id = state.pop(_TICKET, None)
        if tenant_id is not None:
            _take(self.requests, tenant_id)

    @contextmanager
    def waiting(self, tenant_id: TenantId) -> Iterator[None]:
        """A request that only waits makes room for one that works. Raises TooManyRequests."""
        most = self.settings.waits_per_tenant
        if self.waits.get(tenant_id, 0) >= most:
            raise TooManyRequests(
                f"{most} long polls and event streams of this tenant are open already; poll without `wait`, or use a "
                "webhook.",
                code="too_many_waits",
                retry_after=_RETRY_SECONDS,
            )
        _take(self.requests, tenant_id)
        _add(self.waits, tenant_id)
        try:
            yield
        finally:
            _take(self.waits, tenant_id)
            # Even beyond the bound by now: a request that entered is served to its end.
            _add(self.requests, tenant_id)


def _add(counts: dict[TenantId, int], tenant_id: TenantId) -> None:
    counts[tenant_id] = counts.get(tenant_id, 0) + 1


def _take(counts: dict[TenantId, int], tenant_id: TenantId) -> None:
    left = counts[tenant_id] - 1
    if left:
        counts[tenant_id] = left
    else:
        del counts[tenant_id]
