"""The stage of the worker's tests: the common one and a provider on a socket. A test starts its workers itself."""

import asyncio
from dataclasses import dataclass
from typing import Any

from core.domain.ids import JobId
from tests.conformance.fake_provider import Call, FakeProvider
from tests.support.stage import Stage


@dataclass(frozen=True)
class WorkerStage(Stage):
    """`fake` keeps a ledger of its calls."""

    fake: FakeProvider

    async def submit(self, model: str = "fake/ok", **changes: Any) -> JobId:
        return await super().submit(model=model, **changes)

    async def call(self, number: int = 0) -> Call:
        """The provider's call `number`, as soon as it has arrived."""
        return await asyncio.wait_for(self.fake.call(number), 20)
