"""A moment in a request: RFC 3339 with an offset, within the years that every part of the system can hold.

In UTC from here on: a time near the ends of Python's calendar has no UTC, and would fail only once rows are written.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
_WRITTEN: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", re.ASCII)


def _as_text(value: object) -> object:
    # A number would be taken for Unix seconds, or milliseconds.
    if not isinstance(value, str) or not _WRITTEN.match(value):
        raise ValueError("must be a time such as 2026-03-04T05:06:07Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    # Compared before it is converted: the conversion of what is out of bounds may overflow.
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("must be a time from 1970 to 2999")
    return moment.astimezone(UTC)


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_as_text),
    AfterValidator(_in_utc),
    Field(json_schema_extra={"pattern": "^(19[7-9]|2[0-9]{2})[0-9]-"}, examples=["2026-03-04T05:06:07Z"]),
]
