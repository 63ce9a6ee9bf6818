"""One Redis subscription for a process: wakes, cancels and changes arrive here.

A message is only ever a hint. Whenever Redis has confirmed a subscription `on_connect` runs, because hints may have
been missed before it; whoever listens also keeps a slow tick of its own. Used by worker/lifecycle.py and the API.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from arq.connections import ArqRedis
from redis.asyncio.client import PubSub

from core.queue.connect import RedisFault, end_if_cancelled

_IDLE_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)

log = structlog.get_logger(__name__)


async def listen(
    redis: ArqRedis, handlers: Mapping[str, Callable[[str], None]], on_connect: Callable[[], None]
) -> None:
    """Runs for ever: hands each message of each channel to its handler. Ends by cancellation only."""
    failures = 0

    def connected() -> None:
        nonlocal failures
        failures = 0
        on_connect()

    while True:
        try:
            async with redis.pubsub() as pubsub:
                await pubsub.subscribe(*handlers)
                await _receive(pubsub, handlers, connected)
        except (*RedisFault, RuntimeError) as error:
            # A connection that is cut while redis-py greets it: uvloop's closed transport says so by a RuntimeError.
            if failures == 0:
                log.warning("redis_subscription_lost", error=type(error).__name__)
        except Exception:
            log.exception("redis_subscription_crashed")
        end_if_cancelled()
        await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
        failures += 1


async def _receive(
    pubsub: PubSub, handlers: Mapping[str, Callable[[str], None]], on_connect: Callable[[], None]
) -> None:
    asked = False
    while True:
        # redis-py may connect in spite of a cancellation.
        end_if_cancelled()
        message = await pubsub.get_message(ignore_subscribe_messages=False, timeout=_IDLE_SECONDS)
        if message is None:
            if asked:
                # A half-open connection looks idle for ever; a live one answers the ping.
                raise TimeoutError("no answer to a ping")
            await pubsub.ping()
            asked = True
            continue
        asked = False
        match message["type"]:
            case "subscribe":
                on_connect()
            case "message":
                # Anybody may publish anything: what is no text is no message of ours, and no handler's ids.
                handlers[message["channel"].decode()](message["data"].decode(errors="replace"))
            case _:
                continue
