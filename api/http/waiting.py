"""How long a request wants to be held: `?wait=n` and `Prefer: wait=n` (RFC 7240), or as long as its client is there.

Used by api/jobs/routes.py.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Annotated, Final, TypeVar

from fastapi import Header, Query
from starlette.types import Receive

from core.domain.errors import InvalidParameter, InvalidRequest

T = TypeVar("T")

_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([^\s,;\"]*)\"?", re.IGNORECASE)
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,3})?", re.ASCII)

WaitDep = Annotated[str | None, Query(alias="wait", description="Seconds to hold the request until the job has ended.")]
PreferDep = Annotated[
    str | None,
    Header(alias="prefer", description="`wait=n`: hold the request up to n seconds until the job has ended."),
]


def wait_of_query(text: str | None, longest: float) -> float | None:
    """Seconds, at most `longest`; None when nothing was asked for. Raises InvalidParameter."""
    if text is None:
        return None
    if not _SECONDS.fullmatch(text):
        raise InvalidParameter("wait: must be a number of seconds, such as wait=30.", param="wait")
    return min(float(text), longest)


def wait_of_prefer(header: str | None, longest: float) -> float | None:
    """As `wait_of_query`, from a Prefer header, which may ask for other things too."""
    found = _WAIT.search(header or "")
    return None if found is None else wait_of_query(found.group(1), longest)


async def while_connected(receive: Receive, wanted: Coroutine[None, None, T]) -> T:
    """What is `wanted`. Raises InvalidRequest as soon as the client has left, who would fill its tenant's waits."""
    waiting, leaving = asyncio.create_task(wanted), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return await waiting
        raise InvalidRequest("The connection ended before the wait did.")
    finally:
        waiting.cancel()
        leaving.cancel()
        await asyncio.wait((waiting, leaving))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
