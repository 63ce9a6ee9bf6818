"""Waits for a job to change, without a database connection: the way of long polls and event streams in api/jobs.

One Redis subscription for the process says which jobs changed; a waiter then reads PostgreSQL, which alone knows.
Messages can be lost, so a waiter also reads every few seconds.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from core.domain.ids import InvalidId, JobId, TenantId, parse_job
from core.domain.job_state import TERMINAL
from core.jobs.group_commit import GroupCommit
from core.jobs.records import JobRecord

_LOOK_AGAIN_SECONDS: Final = 2.0


@dataclass(slots=True)
class Watch:
    """The waiters of this process, by job."""

    group_commit: GroupCommit
    _waiting: dict[JobId, set[asyncio.Event]] = field(default_factory=lambda: defaultdict(set))
    _closed: bool = False

    def changed(self, members: str) -> None:
        """The subscription's handler: ids of jobs that changed, separated by spaces."""
        for member in members.split():
            try:
                job_id = parse_job(member)
            except InvalidId:
                continue
            for event in self._waiting.get(job_id, ()):
                event.set()

    def look_again(self) -> None:
        """Wakes every waiter, because messages may have been missed."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    def close(self) -> None:
        """The process stops: every waiter returns the job as it stands."""
        self._closed = True
        self.look_again()

    async def until_ended(self, job_id: JobId, tenant_id: TenantId, seconds: float) -> JobRecord | None:
        """The job when it has ended, or as it stands after `seconds`. None when the tenant has no such job."""
        return await self._until(lambda job: job.state in TERMINAL, job_id, tenant_id, seconds)

    async def until_changed(
        self, job_id: JobId, tenant_id: TenantId, after_version: int, seconds: float
    ) -> JobRecord | None:
        """As `until_ended`, the job when its version is another one than `after_version`."""
        return await self._until(lambda job: job.version != after_version, job_id, tenant_id, seconds)

    @property
    def closed(self) -> bool:
        return self._closed

    async def _until(
        self, enough: Callable[[JobRecord], bool], job_id: JobId, tenant_id: TenantId, seconds: float
    ) -> JobRecord | None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + seconds
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        try:
            while True:
                # Cleared before the look, so that a change after it is not missed.
                event.clear()
                job = await self.group_commit.read(job_id, tenant_id)
                left = give_up_at - loop.time()
                if job is None or enough(job) or left <= 0 or self._closed:
                    return job
                try:
                    async with asyncio.timeout(min(left, _LOOK_AGAIN_SECONDS)):
                        await event.wait()
                except TimeoutError:
                    continue
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
