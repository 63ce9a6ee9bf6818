"""Connections to Redis that notice a dead peer: timeouts on every command, keep-alive, and a ping on idle ones."""

import asyncio
from typing import Final

from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.settings import RedisSettings

# The client's type, for those who hold one and need not know that it is arq's.
RedisClient = ArqRedis

# Everything that a command to Redis may raise when Redis is not there, full, read-only or half-open.
RedisFault: Final = (RedisError, OSError, TimeoutError)

_COMMAND_SECONDS: Final = 2.0


def connect(settings: RedisSettings, *, connections: int = 20) -> RedisClient:
    """A client with a bounded pool. It connects when it is first used."""
    url = settings.url.get_secret_value()
    # A unix socket's peer can't vanish without a word, and redis-py refuses the option there.
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
    return ArqRedis(pool)


def end_if_cancelled() -> None:
    """For a loop that goes on after errors: redis-py may answer a cancellation with an error of its own.

    Raises CancelledError when the running task was asked to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
