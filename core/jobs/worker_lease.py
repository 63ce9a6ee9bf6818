"""The lease of this worker process: a row of `workers` that covers every job which names it.

Renewed by one small statement a beat, on a connection of its own, however many jobs run. While the lease may be over
by this process's own clock nothing new is claimed and no call begins. A worker that finds itself declared dead begins
again under a new id; its runs are over (core/jobs/heartbeat.py). sql/declare_dead.sql decides which worker is
dead, and when. Kept by worker/tasks/beat.py.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import structlog

from core.db.dedicated import DedicatedConnection
from core.db.statements import Statement
from core.domain.ids import new_uuid

REGISTER_WORKER: Final = Statement("core/jobs/sql/register_worker.sql")
RENEW_WORKER: Final = Statement("core/jobs/sql/renew_worker.sql")
LEAVE_WORKER: Final = Statement("core/jobs/sql/leave_worker.sql")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class WorkerLease:
    """One for a process. Seconds everywhere; `valid_until` is in `time.monotonic()`: the
    loop's own clock stands still within an iteration, and a process that was stopped in one would believe an old time.

    `name` is the process's, for logs; `id` begins with it and is another one after each registration.
    """

    connection: DedicatedConnection
    name: str
    version: str
    lease_seconds: float
    heartbeat_seconds: float
    slots: int = 0
    on_death: Callable[[], None] = lambda: None
    id: str = ""
    valid_until: float = 0.0
    _renewed_at: float = field(default=float("-inf"))
    _steady_since: float = field(default=float("-inf"))

    @property
    def gap_seconds(self) -> float:
        """Without a renewal for so long, a worker may not judge others, and claims nothing."""
        return self.lease_seconds / 2

    @property
    def is_valid(self) -> bool:
        """Whether the lease is certainly still valid: no other worker can have declared this one dead."""
        return time.monotonic() < self.valid_until

    @property
    def may_claim(self) -> bool:
        """Whether the last good renewal is young enough to begin something new."""
        now = time.monotonic()
        return now < self.valid_until and now - self._renewed_at <= self.gap_seconds

    @property
    def may_judge(self) -> bool:
        """Whether PostgreSQL has answered for a full lease without a gap; its own word on it is declare_dead.sql."""
        now = time.monotonic()
        return now - self._renewed_at <= self.gap_seconds and now - self._steady_since >= self.lease_seconds

    async def register(self) -> None:
        """Registers under a new id. Raises database errors."""
        worker_id, sent_at = f"{self.name}-{new_uuid().hex[-6:]}", time.monotonic()
        await self._ask(
            REGISTER_WORKER,
            worker_id=worker_id,
            slots=self.slots,
            version=self.version,
            lease_seconds=self.lease_seconds,
        )
        self.id = worker_id
        self._renewed(sent_at)

    async def renew(self) -> None:
        """Renews the lease, or registers under a new id when this worker was declared dead. Raises database errors."""
        if not self.id:
            await self.register()
            return
        sent_at = time.monotonic()
        row = await self._ask(
            RENEW_WORKER,
            worker_id=self.id,
            lease_seconds=self.lease_seconds,
            gap_seconds=self.gap_seconds,
            slots=self.slots,
        )
        if row is None:
            log.warning("worker_declared_dead", worker_id=self.id)
            self.valid_until = 0.0
            self.on_death()
            await self.register()
            return
        self._renewed(sent_at)

    async def leave(self) -> None:
        """Ends the lease when the process stops, so that others need not wait for it. Raises database errors."""
        self.valid_until = 0.0
        if self.id:
            await self._ask(LEAVE_WORKER, worker_id=self.id)
        self.connection.drop()

    def _renewed(self, sent_at: float) -> None:
        if sent_at - self._renewed_at > self.gap_seconds:
            self._steady_since = sent_at
        # From before it was sent: PostgreSQL's own clock for it began later.
        self._renewed_at = sent_at
        self.valid_until = sent_at + self.lease_seconds

    async def _ask(self, statement: Statement[object], **named: object) -> asyncpg.Record | None:
        return await self.connection.fetchrow(self.heartbeat_seconds, statement.text, *statement.arguments(**named))
