"""What workers read of the fleet for the caps of tenants."""

from core.access.tenants import limit_tenant
from core.db.engine import Database
from core.jobs.fleet import read_fleet
from core.queue.fleet import Fleet
from tests.conftest import MakeTenant, OwnerPool


async def test_the_fleet_is_read_with_the_caps_of_their_own(
    fleet: Database, new_tenant: MakeTenant, owner: OwnerPool
) -> None:
    await owner.execute("UPDATE workers SET slots = 0")
    for name, lease in (("large", "1 hour"), ("small", "1 hour"), ("late", "-1 s")):
        await owner.execute(
            f"INSERT INTO workers (id, slots, lease_expires_at) VALUES ($1, $2, now() + interval '{lease}')"
            " ON CONFLICT (id) DO UPDATE SET slots = excluded.slots",
            name,
            {"large": 4, "small": 3, "late": 100}[name],
        )
    assert await read_fleet(fleet) == Fleet(7, 0, {})
    first = await new_tenant()
    assert await read_fleet(fleet) == Fleet(7, 1, {})
    for _ in range(2):
        await new_tenant()
    await limit_tenant(fleet, first.id, 3)
    assert await read_fleet(fleet) == Fleet(7, 2, {first.id: 3})
    await limit_tenant(fleet, first.id, None)
    assert await read_fleet(fleet) == Fleet(7, 2, {})
    await owner.execute("DELETE FROM workers WHERE id IN ('large', 'small', 'late')")
