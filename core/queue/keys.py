"""The names in Redis. Every key has a TTL except the lanes, which hold ids only, and the epoch.

A lane's score is virtual time for what waits (core/queue/lua/fair.lua), and milliseconds for what has a time.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from arq.constants import in_progress_key_prefix, job_key_prefix

from core.domain.ids import DELIVERY, JOB, DeliveryId, InvalidId, JobId, parse, show
from core.domain.job_state import Priority

PAYLOAD: Final = job_key_prefix
IN_PROGRESS: Final = in_progress_key_prefix


class Lane(StrEnum):
    """One sorted set each: the three priorities of jobs, and the webhook deliveries."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"
    DELIVERIES = "deliveries"


JOB_LANES: Final = (Lane.INTERACTIVE, Lane.STANDARD, Lane.BATCH)
# Of 13 jobs that start while all three lanes have some waiting, so many come from each.
LANE_WEIGHTS: Final = {Lane.INTERACTIVE: 8, Lane.STANDARD: 4, Lane.BATCH: 1, Lane.DELIVERIES: 1}


def lane_of(priority: Priority) -> Lane:
    return Lane(priority.value)


def job_member(job_id: JobId) -> str:
    return show(JOB, job_id)


def delivery_member(delivery_id: DeliveryId) -> str:
    return show(DELIVERY, delivery_id)


def parse_member(member: str) -> JobId | DeliveryId | None:
    """What a member names; None for something that is not ours."""
    for prefix in (JOB, DELIVERY):
        try:
            found = parse(prefix, member)
        except InvalidId:
            continue
        return JobId(found) if prefix == JOB else DeliveryId(found)
    return None


@dataclass(frozen=True, slots=True)
class Keys:
    """The names that start with the configured prefix.

    A group is the lanes that the same workers serve. Its name is the prefix of what they share, made in Lua:
    `:idle` (workers with open slots), `:wake:<worker>` (channels), `:flows` and `:busy:<flow>` (who uses slots),
    `:parked` (flows at their cap) and `:alarm`. What is parked is beside its lane: `<lane>:parked:<flow>`.
    """

    prefix: str

    def group(self, lane: Lane) -> str:
        return f"{self.prefix}:{'deliveries' if lane is Lane.DELIVERIES else 'jobs'}"

    def wake_one(self, lane: Lane, worker: str) -> str:
        """Channel: there is work in the lane's group for this worker."""
        return f"{self.group(lane)}:wake:{worker}"

    def parked(self, lane: Lane, flow: str) -> str:
        """What a flow at its cap has waiting in the lane."""
        return f"{self.lane(lane)}:parked:{flow}"

    def lane(self, lane: Lane) -> str:
        return f"{self.prefix}:queue:{lane.value}"

    @property
    def wake(self) -> str:
        """Channel that every worker listens on, to be counted; a message on it wakes them all."""
        return f"{self.prefix}:wake"

    @property
    def cancelled(self) -> str:
        """Channel: job ids whose running call should be closed now."""
        return f"{self.prefix}:cancelled"

    @property
    def changed(self) -> str:
        """Channel: job ids whose state changed, for those who wait."""
        return f"{self.prefix}:changed"

    @property
    def epoch(self) -> str:
        """Gone means that Redis lost its memory, and the queue with it."""
        return f"{self.prefix}:epoch"

    def spool(self, job_id: JobId) -> str:
        """An answer that PostgreSQL could not take yet."""
        return f"{self.prefix}:spool:{show(JOB, job_id)}"
