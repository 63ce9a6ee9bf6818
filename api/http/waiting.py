"""How long a request wants to be held: `?wait=n` and `Prefer: wait=n` (RFC 7240), or as long as its client is there.

Used by api/jobs/routes.py.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive

from core.domain.errors import InvalidParameter, InvalidRequest

T = TypeVar("T")

_WAIT: Final = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([^\s,;\"]*)\"?", re.IGNORECASE)
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,3})?", re.ASCII)
_TEXT: Final = "number of seconds to wait until the job is final. The server limits it, by default to 60."
PREFER: Final = ("Prefer", f"`wait=n`: maximum {_TEXT} Other preferences are ignored.", "wait=20")


class WaitQuery(BaseModel):
    """How long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wait: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description=f"Maximum {_TEXT}",
        examples=[20],
    )

    def seconds(self, longest: float) -> float:
        return min(self.wait, longest)


def wait_of_prefer(header: str | None, longest: float) -> float | None:
    """Seconds, at most `longest`; None when nothing was asked for. Raises InvalidParameter."""
    found = None if header is None else _WAIT.search(header)
    if found is None:
        return None
    if not _SECONDS.fullmatch(found.group(1)):
        raise InvalidParameter("Prefer: wait must be a number of seconds, such as wait=30.", param="Prefer")
    return min(float(found.group(1)), longest)


async def while_connected(receive: Receive, wanted: Coroutine[None, None, T]) -> T:
    """The result of `wanted`. Raises InvalidRequest as soon as the client has left, who would use up its waits."""
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
