"""A moment in a request: RFC 3339 with an offset, within the years that every part of the system can hold.

In UTC from here on: a time near the ends of Python's calendar has no UTC, and would fail only once rows are written.
"""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    # Compared before it is converted: the conversion of what is out of bounds may overflow.
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("must be a time from 1970 to 2999")
    return moment.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
