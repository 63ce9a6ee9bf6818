"""What a check of `inferd doctor` answers."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """`message` says what was found, and for anything but ok what to do."""

    name: str
    level: Level
    message: str
