"""A primary that is demoted and keeps its connections is left within seconds, for commands and for messages."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from core.queue import subscription
from core.queue.connect import RedisFault
from core.queue.keys import Keys
from tests.queue.lanes import Runs, open_lanes
from tests.queue.own_valkey import OwnValkey, open_valkey
from tests.queue.switch import Switch
from tests.queue.test_subscription import Subscriber
from tests.support.waiting import eventually


@pytest.fixture
async def other() -> AsyncIterator[OwnValkey]:
    async with open_valkey() as running:
        yield running


@pytest.fixture
async def switch(valkey: OwnValkey) -> AsyncIterator[Switch]:
    """The name that both servers have: who connects reaches the one it stands for now."""
    async with Switch(valkey).running() as opened:
        yield opened


async def fail_over(switch: Switch, demoted: OwnValkey, promoted: OwnValkey) -> None:
    """The demoted one refuses writes from now on, and keeps every connection."""
    switch.turn_to(promoted)
    async with demoted.client() as client:
        await client.replicaof("127.0.0.1", "1")


async def test_a_worker_leaves_a_demoted_primary(
    switch: Switch, valkey: OwnValkey, other: OwnValkey, keys: Keys
) -> None:
    runs = Runs()
    async with open_lanes(switch.url, keys) as lanes, lanes.worker(runs):
        (first,) = await lanes.enqueue()
        await runs.until(lambda: first in runs.members)
        await fail_over(switch, valkey, other)

        async def served() -> bool:
            try:
                (member,) = await lanes.enqueue()
            except RedisFault:
                return False
            await runs.until(lambda: member in runs.members)
            return True

        await eventually(served, seconds=10)


async def heard(valkey: OwnValkey, subscriber: Subscriber) -> bool:
    """Whether who listens hears what is published at this server."""
    async with valkey.client() as client:
        if await client.publish("news", "here"):
            return await subscriber.next() == "here"
    return False


@pytest.mark.parametrize("demoted", [True, False])
async def test_a_subscription_leaves_a_demoted_primary(
    switch: Switch,
    valkey: OwnValkey,
    other: OwnValkey,
    monkeypatch: pytest.MonkeyPatch,
    stack: AsyncExitStack,
    demoted: bool,
) -> None:
    """Also where nobody else writes, and where commands have found the new one by themselves."""
    monkeypatch.setattr(subscription, "_CHECK_SECONDS", 0.2)
    subscriber = Subscriber()
    await stack.enter_async_context(subscriber.listening(switch.url))
    await subscriber.connected()
    if demoted:
        await fail_over(switch, valkey, other)
    else:
        # The server stays writable, so that only the missing listener tells.
        switch.turn_to(other)
        async with valkey.client() as client:
            await client.client_kill_filter(_type="normal", skipme=True)
    await eventually(lambda: heard(other, subscriber), seconds=10)
