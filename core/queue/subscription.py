"""One Redis subscription for a process: wakes, cancels and changes arrive here.

A message is only ever a hint. Every few seconds it publishes a message to itself, on the connections that commands use:
if it does not come back, the peer is dead or is another server than theirs (a demoted primary), and the subscription is
opened anew. Whenever Redis has confirmed a subscription `on_connect` runs, because hints may have been missed before
it; whoever listens also keeps a slow tick of its own. Used by worker/lifecycle.py and the API.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from arq.connections import ArqRedis
from redis.asyncio.client import PubSub

from core.queue.connect import RedisFault, end_if_cancelled

_CHECK_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)

log = structlog.get_logger(__name__)


async def listen(
    redis: ArqRedis, handlers: Mapping[str, Callable[[str], None]], on_connect: Callable[[], None]
) -> None:
    """Runs for ever: hands each message of each channel to its handler. Ends by cancellation only."""
    failures, own = 0, f"{min(handlers)}:listener:{uuid.uuid4().hex}"

    def connected() -> None:
        nonlocal failures
        failures = 0
        on_connect()

    while True:
        try:
            async with redis.pubsub() as pubsub:
                await pubsub.subscribe(*handlers, own)
                await _receive(redis, pubsub, {**handlers, own: lambda _: None}, own, connected)
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
    redis: ArqRedis,
    pubsub: PubSub,
    handlers: Mapping[str, Callable[[str], None]],
    own: str,
    on_connect: Callable[[], None],
) -> None:
    """`own` is the channel of the message to itself. Raises when it does not come back."""
    loop = asyncio.get_running_loop()
    check_at, sent = loop.time() + _CHECK_SECONDS, False
    while True:
        # redis-py may connect in spite of a cancellation.
        end_if_cancelled()
        if loop.time() >= check_at:
            if sent:
                raise TimeoutError("its own message did not come back")
            await _send(redis, own)
            check_at, sent = loop.time() + _CHECK_SECONDS, True
        message = await pubsub.get_message(ignore_subscribe_messages=False, timeout=max(0.001, check_at - loop.time()))
        if message is None:
            continue
        match message["type"]:
            case "subscribe":
                if message["channel"].decode() != own:
                    on_connect()
            case "message":
                channel = message["channel"].decode()
                sent = sent and channel != own
                # Anybody may publish anything: what is no text is no message of ours, and no handler's ids.
                handlers[channel](message["data"].decode(errors="replace"))
            case _:
                continue


async def _send(redis: ArqRedis, own: str) -> None:
    """Raises one of RedisFault where commands go to another server, or to one that takes no writes."""
    # A write that changes nothing: a replica refuses it, and the client then drops its connections.
    await redis.delete(own)
    if await redis.publish(own, "") == 0:
        raise ConnectionError("subscribed to another server")
