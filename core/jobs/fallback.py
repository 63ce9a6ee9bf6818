"""Names due jobs and deliveries from PostgreSQL, for a worker whose Redis is gone, read-only or full.

Fair between tenants, under their caps, a few at a time. All workers choose from the same rows, so each chooses at
random among those that come first; a job that two of them chose is claimed once. Used through core/queue/fallback.py.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final
from uuid import UUID

from core.db.engine import Database
from core.db.session import hot_statement
from core.domain.ids import JobId, TenantId
from core.domain.job_state import JobState
from core.jobs.due_deliveries import DeliveryWalk
from core.jobs.reconcile import DUE_HEADS
from core.queue.fleet import TenantCaps
from core.queue.keys import JOB_LANES, LANE_WEIGHTS, Lane, delivery_member, job_member
from core.queue.shares import Shares

_TENANTS: Final = 50
# Reads this many times the wanted number of each tenant, so that workers, which choose at random, rarely collide.
_SPREAD: Final = 4
_NOBODY: Final = TenantId(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Waiting:
    """Due jobs of one tenant, first to come first, and how many of its jobs run."""

    tenant_id: TenantId
    job_ids: Sequence[JobId]
    running: int


def choose(waiting: Sequence[Waiting], most: int, caps: TenantCaps, rng: random.Random) -> list[JobId]:
    """At most `most` of them: one of each tenant, then the next of each, none beyond its cap. Pure but for `rng`."""
    lines: list[list[JobId]] = []
    for each in waiting:
        cap = caps.of(each.tenant_id)
        room = len(each.job_ids) if cap is None else max(0, cap - each.running)
        lines.append(rng.sample(each.job_ids, len(each.job_ids))[:room])
    rng.shuffle(lines)
    ordered = [job_id for each in zip_longest(*lines) for job_id in each if job_id is not None]
    return ordered[:most]


@dataclass(slots=True)
class DueJobs:
    """The source of a worker's three lanes."""

    database: Database
    caps: TenantCaps
    _shares: Shares = field(default_factory=lambda: Shares([LANE_WEIGHTS[lane] for lane in JOB_LANES]))
    _after: dict[Lane, TenantId] = field(default_factory=dict)
    _rng: random.Random = field(default_factory=random.Random)

    async def __call__(self, most: int) -> list[tuple[Lane, str]]:
        """At most `most`, weighted by priority; what a lane leaves is the others'. Raises on a dead database."""
        found = {lane: await self._lane(lane, most) for lane in JOB_LANES}
        shares = self._shares.split(most)
        first = [(lane, each) for lane, share in zip(JOB_LANES, shares, strict=True) for each in found[lane][:share]]
        rest = [(lane, each) for lane, share in zip(JOB_LANES, shares, strict=True) for each in found[lane][share:]]
        return [(lane, job_member(job_id)) for lane, job_id in (first + rest)[:most]]

    async def _lane(self, lane: Lane, most: int) -> list[JobId]:
        """The next tenants' jobs; after the last tenant the first ones come again."""
        after = self._after.get(lane, _NOBODY)
        waiting = await self._waiting(lane, after, most)
        if len(waiting) < _TENANTS and after != _NOBODY:
            known = {each.tenant_id for each in waiting}
            again = await self._waiting(lane, _NOBODY, most)
            waiting += [each for each in again if each.tenant_id not in known][: _TENANTS - len(waiting)]
        self._after[lane] = waiting[-1].tenant_id if len(waiting) == _TENANTS else _NOBODY
        return choose(waiting, most, self.caps, self._rng)

    async def _waiting(self, lane: Lane, after: TenantId, most: int) -> list[Waiting]:
        async with hot_statement(self.database) as connection:
            rows = await DUE_HEADS.fetch(
                connection,
                lane=lane,
                after_tenant=after,
                tenants=_TENANTS,
                jobs_each=most * _SPREAD,
                running=JobState.RUNNING,
            )
        return [
            Waiting(TenantId(row["tenant_id"]), [JobId(each) for each in row["ids"]], row["running"]) for row in rows
        ]


@dataclass(slots=True)
class DueDeliveries:
    """The source of the deliveries: each target's next ones, which the claim holds to their caps."""

    walk: DeliveryWalk
    _rng: random.Random = field(default_factory=random.Random)

    async def __call__(self, most: int) -> list[tuple[Lane, str]]:
        """At most `most`. Raises on a dead database."""
        due = await self.walk.lost(most)
        due += (await self.walk.look())[0]
        chosen = self._rng.sample(due, min(most, len(due)))
        return [(Lane.DELIVERIES, delivery_member(delivery_id)) for delivery_id, _ in chosen]
