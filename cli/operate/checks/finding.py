"""The result of a check of `inferd doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """`message` says what was found and, unless the level is ok, what to do."""

    name: str
    level: Level
    message: str
