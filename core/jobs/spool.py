"""Keeps an answer that PostgreSQL can't take yet, so that the next run applies it instead of paying again.

Written by core/jobs/finish.py when the store is away, read by core/jobs/execute.py before a call that follows a lost
worker. It lives in Redis under a TTL, sealed like every result (core/db/sealed.py); losing it costs one more call.
"""

from dataclasses import asdict, dataclass
from typing import Final

import orjson
import structlog

from core.db.sealed import SealBroken, Sealer
from core.domain.inference import InferenceResult, Usage
from core.jobs.records import ClaimedJob
from core.queue.connect import RedisClient, RedisFault
from core.queue.keys import Keys

_LIFE_SECONDS: Final = 3600
_PLACE: Final = "spool.result"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Spool:
    """Best effort both ways: without Redis there is nothing to keep and nothing to find."""

    redis: RedisClient
    keys: Keys
    sealer: Sealer

    async def put(self, job: ClaimedJob, result: InferenceResult) -> None:
        sealed = self.sealer.seal(orjson.dumps(asdict(result)), job.tenant_id, _PLACE, job.id)
        try:
            await self.redis.set(self.keys.spool(job.id), sealed, ex=_LIFE_SECONDS)
        except RedisFault as error:
            log.warning("spool_failed", error=type(error).__name__)

    async def take(self, job: ClaimedJob) -> InferenceResult | None:
        """The answer of an earlier run of this job, if one was kept."""
        try:
            sealed = await self.redis.get(self.keys.spool(job.id))
        except RedisFault:
            return None
        if sealed is None:
            return None
        try:
            stored = orjson.loads(self.sealer.open(sealed, job.tenant_id, _PLACE, job.id))
            return InferenceResult(**{**stored, "usage": Usage(**stored["usage"])})
        except (SealBroken, ValueError, TypeError, KeyError) as error:
            log.warning("spool_unreadable", error=type(error).__name__)
            return None

    async def discard(self, job: ClaimedJob) -> None:
        """The answer is stored: forget the copy."""
        try:
            await self.redis.delete(self.keys.spool(job.id))
        except RedisFault as error:
            log.warning("spool_not_discarded", error=type(error).__name__)
