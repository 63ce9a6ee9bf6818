"""Connections to Redis that notice a dead peer: timeouts on every command, keep-alive, and a ping on idle ones."""

import asyncio
import time
from typing import Any, Final

import structlog
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from core.settings import RedisSettings

_log = structlog.get_logger(__name__)

# Everything that a command to Redis may raise when Redis is not there, full, read-only or half-open.
RedisFault: Final = (RedisError, OSError, TimeoutError)

_COMMAND_SECONDS: Final = 2.0
# Commands that were under way together fail together: one drop is for all of them.
_DROP_PAUSE_SECONDS: Final = 0.5


class RedisClient(ArqRedis):
    """Leaves a server that became a replica.

    After a failover a demoted primary may keep its connections and refuse every write; only a new connection resolves
    the name anew. All are dropped then, those of the process's subscription too.
    """

    _dropped_at = -_DROP_PAUSE_SECONDS

    async def parse_response(self, connection: Connection, command_name: str, **options: Any) -> Any:  # type: ignore[override]
        try:
            return await super().parse_response(connection, command_name, **options)
        except ResponseError as error:
            # Before Redis 7 a script's error only quotes it.
            if isinstance(error, ReadOnlyError) or "READONLY" in str(error):
                await self._leave_server()
            raise

    async def _leave_server(self) -> None:
        now = time.monotonic()
        if now - self._dropped_at >= _DROP_PAUSE_SECONDS:
            self._dropped_at = now
            _log.warning("redis_is_read_only")
            await self.connection_pool.disconnect(inuse_connections=True)


def connect(settings: RedisSettings, *, connections: int = 20) -> RedisClient:
    """A client with a bounded pool. It connects when it is first used."""
    url = settings.url.get_secret_value()
    # A unix socket always notices that its peer is gone, and redis-py refuses the option there.
    keepalive = {} if url.startswith("unix://") else {"socket_keepalive": True}
    pool = BlockingConnectionPool.from_url(
        url,
        **keepalive,
        max_connections=connections,
        timeout=_COMMAND_SECONDS,
        socket_timeout=_COMMAND_SECONDS,
        socket_connect_timeout=_COMMAND_SECONDS,
        health_check_interval=10,
        # A command whose answer was lost may have run; the scripts are idempotent, so the callers decide.
        retry=Retry(NoBackoff(), 0),
    )
    return RedisClient(pool)


def end_if_cancelled() -> None:
    """For a loop that goes on after errors: redis-py may turn a cancellation into an error of its own.

    Raises CancelledError when the running task was asked to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
