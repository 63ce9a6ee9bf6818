"""Waiting for a condition, with a limit: what the tests do instead of sleeping."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar, overload

Found = TypeVar("Found")
_SHORTEST, _LONGEST = 0.002, 0.05


@overload
async def eventually(
    probe: Callable[[], Awaitable[Found | None]], *, seconds: float = ..., what: str = ...
) -> Found: ...


@overload
async def eventually(probe: Callable[[], Found | None], *, seconds: float = ..., what: str = ...) -> Found: ...


async def eventually(
    probe: Callable[[], Awaitable[Found | None] | Found | None], *, seconds: float = 15.0, what: str = ""
) -> Found:
    """The first answer of `probe` that is neither None nor False. Fails the test after `seconds`.

        job = await eventually(lambda: ended(job_id), what="the job ends")

    `probe` may be async; what it raises ends the wait.
    """
    loop = asyncio.get_running_loop()
    give_up_at, pause = loop.time() + seconds, _SHORTEST
    while True:
        answer = probe()
        found: Found | None = await answer if isawaitable(answer) else answer
        if found is not None and found is not False:
            return found
        if loop.time() >= give_up_at:
            raise AssertionError(f"not within {seconds:g} s: {what or probe!r}")
        await asyncio.sleep(pause)
        pause = min(_LONGEST, pause * 1.5)
