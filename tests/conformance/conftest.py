"""A fake provider on a socket for each test, and adapters that call it."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from core.providers.openai_compatible import Endpoint, OpenAICompatible
from core.providers.transport import MAX_ANSWER_BYTES, Timeouts
from tests.conformance.fake_provider import FakeProvider
from tests.conformance.http_adapter import KEY, AdapterFactory


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@pytest.fixture
async def adapter(fake: FakeProvider) -> AsyncIterator[AdapterFactory]:
    opened: list[OpenAICompatible] = []

    def build(
        *,
        base_url: str = "",
        key: str | None = KEY,
        streaming: bool = False,
        concurrency: int = 10,
        timeouts: Timeouts | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> OpenAICompatible:
        opened.append(
            OpenAICompatible(
                Endpoint(
                    base_url or fake.base_url,
                    SecretStr(key) if key else None,
                    concurrency,
                    streaming,
                    timeouts or Timeouts(),
                    max_answer_bytes,
                )
            )
        )
        return opened[-1]

    yield build
    for one in opened:
        await one.aclose()
