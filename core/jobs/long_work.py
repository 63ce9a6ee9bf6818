"""Lets others run in the midst of long work on the event loop. Used where one request brings many lines."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

_SECONDS: Final = 0.02


@dataclass(slots=True)
class LongWork:
    """Call `give_way` between pieces of work; it yields once the loop has been held for long enough."""

    _since: float = field(default_factory=time.perf_counter)

    async def give_way(self) -> None:
        if time.perf_counter() - self._since > _SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
