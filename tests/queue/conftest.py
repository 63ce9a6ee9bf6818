"""Lanes of a test's own in the suite's Valkey, and a Valkey of a test's own."""

import uuid
from collections.abc import AsyncIterator

import pytest

from core.queue.keys import Keys
from tests.queue.lanes import Lanes, open_lanes
from tests.queue.own_valkey import OwnValkey, open_valkey
from tests.support.servers import Servers


@pytest.fixture
def keys() -> Keys:
    """Names that no other test uses."""
    return Keys(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
async def lanes(servers: Servers, keys: Keys) -> AsyncIterator[Lanes]:
    """Lanes in the suite's Valkey."""
    async with open_lanes(servers.redis_url, keys) as opened:
        yield opened


@pytest.fixture
async def valkey() -> AsyncIterator[OwnValkey]:
    """A server of the test's own."""
    async with open_valkey() as running:
        yield running
