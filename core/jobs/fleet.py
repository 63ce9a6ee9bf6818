"""Reads what the caps of tenants depend on: the fleet's slots, how many tenants there are, and the caps of their own.

Read every few seconds by worker/lifecycle.py.
"""

from typing import Final

from core.db.engine import Database
from core.db.session import hot_statement
from core.db.statements import Statement
from core.domain.ids import TenantId
from core.queue.fleet import Fleet

FLEET: Final = Statement("core/jobs/sql/fleet.sql")


async def read_fleet(database: Database) -> Fleet:
    """Raises on a dead database."""
    async with hot_statement(database) as connection:
        records = await FLEET.fetch(connection)
    own = {TenantId(record["id"]): int(record["max_slots"]) for record in records if record["id"] is not None}
    return Fleet(records[0]["slots"], records[0]["tenants"], own)
