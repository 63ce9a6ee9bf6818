"""Finds due deliveries that no worker has, tenant by tenant, so that no tenant's backlog delays another's.

Read-only. Used by core/jobs/reconcile.py, and by core/jobs/fallback.py while Redis can't say what is due.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

from core.db.engine import Database
from core.db.rows import from_record
from core.db.session import hot_statement
from core.db.statements import Statement
from core.domain.ids import DeliveryId, TenantId

_NOBODY: Final = UUID(int=0)
# A look takes so many tenants, and so many targets of each.
_TENANTS: Final = 100
TARGETS: Final = 100
EVERY_TARGET: Final = 1_000_000_000

DueDelivery = tuple[DeliveryId, TenantId]


class Place(NamedTuple):
    """The last target of a tenant that a look came to."""

    tenant_id: UUID
    target: UUID
    host: str


LOST_DELIVERIES: Final = Statement("core/jobs/sql/lost_deliveries.sql")
DUE_DELIVERIES: Final = Statement("core/jobs/sql/due_deliveries.sql", Place)


@dataclass(slots=True)
class DeliveryWalk:
    """Remembers the last tenant, and where it is within a tenant that has more targets than one look takes."""

    database: Database
    _tenant: UUID = _NOBODY
    _places: dict[UUID, Place] = field(default_factory=dict)

    def restart(self) -> None:
        """The next look begins with the first tenant and its first target."""
        self._tenant = _NOBODY
        self._places.clear()

    async def lost(self, most: int) -> list[DueDelivery]:
        """Those whose sender died. Raises on a dead database."""
        async with hot_statement(self.database) as connection:
            rows = await LOST_DELIVERIES.fetch(connection, most=most)
        return [(DeliveryId(row["id"]), TenantId(row["tenant_id"])) for row in rows]

    async def look(self, targets: int = TARGETS) -> tuple[list[DueDelivery], bool]:
        """Those of the next tenants, and whether there are more tenants. Raises on a dead database."""
        known = self._places
        async with hot_statement(self.database) as connection:
            rows = await DUE_DELIVERIES.fetch(
                connection, list(known.values()), tenants=_TENANTS, after_tenant=self._tenant, targets=targets
            )
        for row in rows:
            if row["looked_at"] < targets:
                known.pop(row["tenant_id"], None)
            else:
                known[row["tenant_id"]] = from_record(Place, row)
        more = len(rows) == _TENANTS
        self._tenant = max(row["tenant_id"] for row in rows) if more else _NOBODY
        if not more:
            # Whole round: a tenant that has nothing left is forgotten.
            self._places = {
                tenant: place for tenant, place in known.items() if tenant in {r["tenant_id"] for r in rows}
            }
        return [(DeliveryId(each), TenantId(row["tenant_id"])) for row in rows for each in row["delivery_ids"]], more
