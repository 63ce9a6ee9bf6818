"""Finds due deliveries that no worker has, tenant by tenant, so that no tenant's backlog delays another's.

Read-only. Used by core/jobs/reconcile.py, and by core/jobs/fallback.py while Redis can't say what is due.
"""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from core.db.engine import Database
from core.db.session import hot_statement
from core.domain.ids import DeliveryId, TenantId
from core.jobs.statements import statement

_NOBODY: Final = UUID(int=0)
# A look takes so many tenants, and so many targets of each.
_TENANTS: Final = 100
TARGETS: Final = 100
EVERY_TARGET: Final = 1_000_000_000

DueDelivery = tuple[DeliveryId, TenantId]


@dataclass(slots=True)
class DeliveryWalk:
    """Remembers the last tenant, and where it is within a tenant that has more targets than one look takes."""

    database: Database
    _tenant: UUID = _NOBODY
    _targets: dict[UUID, tuple[UUID, str]] = field(default_factory=dict)

    def restart(self) -> None:
        """The next look begins with the first tenant and its first target."""
        self._tenant = _NOBODY
        self._targets.clear()

    async def lost(self, most: int) -> list[DueDelivery]:
        """Those whose sender died. Raises on a dead database."""
        async with hot_statement(self.database) as connection:
            rows = await connection.fetch(statement("lost_deliveries"), most)
        return [(DeliveryId(row["id"]), TenantId(row["tenant_id"])) for row in rows]

    async def look(self, targets: int = TARGETS) -> tuple[list[DueDelivery], bool]:
        """Those of the next tenants, and whether there are more tenants. Raises on a dead database."""
        known = self._targets
        async with hot_statement(self.database) as connection:
            rows = await connection.fetch(
                statement("due_deliveries"), _TENANTS, self._tenant, targets,
                list(known), [target for target, _ in known.values()], [host for _, host in known.values()],
            )  # fmt: skip
        for row in rows:
            if row["looked_at"] < targets:
                known.pop(row["tenant_id"], None)
            else:
                known[row["tenant_id"]] = (row["target"], row["host"])
        more = len(rows) == _TENANTS
        self._tenant = max(row["tenant_id"] for row in rows) if more else _NOBODY
        if not more:
            # Whole round: a tenant that has nothing left is forgotten.
            self._targets = {
                tenant: place for tenant, place in known.items() if tenant in {r["tenant_id"] for r in rows}
            }
        return [(DeliveryId(each), TenantId(row["tenant_id"])) for row in rows for each in row["delivery_ids"]], more
