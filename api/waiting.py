"""How long a request wants to be held: `?wait=n` and `Prefer: wait=n` (RFC 7240). Used by api/routes/jobs.py."""

import re
from typing import Annotated, Final

from fastapi import Header, Query

from core.domain.errors import InvalidParameter

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
