"""What workers read of the fleet for the caps of tenants."""

from core.access.tenants import limit_tenant
from core.db.engine import Database
from core.jobs.fleet import read_fleet
from core.queue.fleet import Fleet
from tests.conftest import MakeTenant


async def test_the_fleet_is_read_with_the_caps_of_their_own(fleet: Database, new_tenant: MakeTenant) -> None:
    assert await read_fleet(fleet, 7) == Fleet(7, 0, {})
    first = await new_tenant()
    assert await read_fleet(fleet, 7) == Fleet(7, 1, {})
    for _ in range(2):
        await new_tenant()
    await limit_tenant(fleet, first.id, 3)
    assert await read_fleet(fleet, 7) == Fleet(7, 2, {first.id: 3})
    await limit_tenant(fleet, first.id, None)
    assert await read_fleet(fleet, 7) == Fleet(7, 2, {})
