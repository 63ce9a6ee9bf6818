"""Reads what the caps of tenants depend on: how many tenants there are, and which have a cap of their own.

Read every few seconds by worker/lifecycle.py.
"""

from core.db.engine import Database
from core.db.session import hot_statement
from core.domain.ids import TenantId
from core.jobs.statements import statement
from core.queue.fleet import Fleet


async def read_fleet(database: Database, slots: int) -> Fleet:
    """`slots` are those of all workers. Raises on a dead database."""
    async with hot_statement(database) as connection:
        records = await connection.fetch(statement("capped_tenants"))
    own = {TenantId(record["id"]): int(record["max_slots"]) for record in records if record["id"] is not None}
    return Fleet(slots, records[0]["tenants"], own)
