"""The subscription: messages arrive, and nothing that happens to a connection or a handler ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from core.queue import subscription
from core.queue.subscription import listen
from tests.queue.lanes import connected
from tests.queue.own_valkey import OwnValkey
from tests.support.waiting import eventually


class Subscriber:
    """Listens to one channel, and counts how many messages asked it to look for itself."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.connects: asyncio.Queue[None] = asyncio.Queue()

    def hear(self, message: str) -> None:
        if message == "bad":
            raise RuntimeError("a handler's bug")
        self.heard.put_nowait(message)

    @asynccontextmanager
    async def listening(self, url: str) -> AsyncIterator[None]:
        async with connected(url) as redis:
            task = asyncio.create_task(listen(redis, {"news": self.hear}, lambda: self.connects.put_nowait(None)))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def connected(self) -> None:
        await asyncio.wait_for(self.connects.get(), 15)

    async def next(self) -> str:
        return await asyncio.wait_for(self.heard.get(), 15)


async def publish(valkey: OwnValkey, message: str | bytes) -> None:
    async with valkey.client() as client:
        await client.publish("news", message)


async def test_what_is_published_after_the_connect_is_heard(valkey: OwnValkey) -> None:
    subscriber = Subscriber()
    async with subscriber.listening(valkey.url):
        await subscriber.connected()
        await publish(valkey, "one")
        assert await subscriber.next() == "one"


async def test_a_killed_connection_comes_back_and_says_so(valkey: OwnValkey) -> None:
    subscriber = Subscriber()
    async with subscriber.listening(valkey.url):
        await subscriber.connected()
        async with valkey.client() as client:
            await client.client_kill_filter(_type="pubsub")
        await subscriber.connected()
        await publish(valkey, "two")
        assert await subscriber.next() == "two"


async def test_a_restarted_redis_is_heard_again(valkey: OwnValkey) -> None:
    subscriber = Subscriber()
    async with subscriber.listening(valkey.url):
        await subscriber.connected()
        await valkey.kill()
        await valkey.start()
        await subscriber.connected()
        await publish(valkey, "three")
        assert await subscriber.next() == "three"


async def test_a_redis_that_hangs_is_left_and_found_again(valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """F10: an idle connection to a dead peer looks like any other idle one, until nothing goes round."""
    monkeypatch.setattr(subscription, "_CHECK_SECONDS", 0.1)
    left = asyncio.Event()
    monkeypatch.setattr(subscription.log, "warning", lambda *_, **__: left.set())
    subscriber = Subscriber()
    async with subscriber.listening(valkey.url):
        await subscriber.connected()
        valkey.pause()
        await asyncio.wait_for(left.wait(), 15)
        valkey.resume()
        await subscriber.connected()
        await publish(valkey, "four")
        assert await subscriber.next() == "four"


async def test_no_message_and_no_handler_ends_it(valkey: OwnValkey) -> None:
    subscriber = Subscriber()
    async with subscriber.listening(valkey.url):
        await subscriber.connected()
        await publish(valkey, "bad")
        await subscriber.connected()
        await publish(valkey, b"\xff\xfe")
        await publish(valkey, "after")
        assert [await subscriber.next(), await subscriber.next()] == ["\ufffd\ufffd", "after"]


async def test_an_idle_connection_that_works_is_kept(valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "_CHECK_SECONDS", 0.02)
    subscriber = Subscriber()
    async with subscriber.listening(valkey.url):
        await subscriber.connected()
        async with valkey.client() as client:
            before = await _rounds(client)

            async def went_round() -> bool:
                return await _rounds(client) >= before + 5

            await eventually(went_round)
        assert subscriber.connects.empty()


async def _rounds(client: Redis) -> int:
    return int((await client.info("commandstats")).get("cmdstat_publish", {}).get("calls", 0))


async def test_a_cancellation_ends_it_whatever_the_driver_makes_of_it(
    valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py may report a connection's error in place of the cancellation that met it; a stop must not hang on that."""
    close = PubSub.aclose

    async def close_badly(pubsub: PubSub) -> None:
        await close(pubsub)  # type: ignore[no-untyped-call]  # redis-py's
        raise ConnectionError("while closing")

    monkeypatch.setattr(PubSub, "aclose", close_badly)
    subscriber = Subscriber()
    async with connected(valkey.url) as redis:
        task = asyncio.create_task(
            listen(redis, {"news": subscriber.hear}, lambda: subscriber.connects.put_nowait(None))
        )
        await subscriber.connected()
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()


async def test_a_cancellation_in_any_step_of_connecting_ends_it(valkey: OwnValkey) -> None:
    """redis-py may go on to connect as if nothing had been asked of it."""
    for steps in range(30):
        async with connected(valkey.url) as redis:
            task = asyncio.create_task(listen(redis, {"news": lambda _: None}, lambda: None))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=3)
            assert task.cancelled(), steps
