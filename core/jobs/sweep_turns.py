"""One worker at a time does a step of the sweep: a short lease in PostgreSQL, renewed while the step works.

Without it a fleet would ask the same questions once for each worker. Correctness does not depend on it: the steps skip
what others have locked. A holder that dies is replaced when its lease is over. Used by worker/tasks/sweep.py.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from core.db.engine import Database
from core.db.session import hot_statement
from core.db.statements import Statement

TAKE_TURN: Final = Statement("core/jobs/sql/take_turn.sql")
LEAVE_TURNS: Final = Statement("core/jobs/sql/leave_turns.sql")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SweepTurns:
    """One worker's. `seconds` is how long a turn lasts without a renewal."""

    database: Database
    worker_id: str
    seconds: float

    async def take(self, name: str) -> bool:
        """Whether the step is this worker's now. Raises on a dead database."""
        async with hot_statement(self.database) as connection:
            taken = await TAKE_TURN.fetchrow(connection, name=name, worker_id=self.worker_id, seconds=self.seconds)
        return taken is not None

    @asynccontextmanager
    async def kept(self, name: str) -> AsyncIterator[None]:
        """Renews a turn that was taken, until the end of the block."""
        renewing = asyncio.create_task(self._renew(name), name=f"turn-{name}")
        try:
            yield
        finally:
            renewing.cancel()

    async def leave(self) -> None:
        """Gives up all turns, so that others need not wait for their end. Raises on a dead database."""
        async with hot_statement(self.database) as connection:
            await LEAVE_TURNS.execute(connection, worker_id=self.worker_id)

    async def _renew(self, name: str) -> None:
        while True:
            await asyncio.sleep(self.seconds / 3)
            try:
                await self.take(name)
            except Exception as error:  # noqa: BLE001 - the next one may work; without any, somebody else takes over
                log.warning("sweep_turn_not_renewed", step=name, error=type(error).__name__)
