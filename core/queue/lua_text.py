"""Puts the Lua scripts together: each file of core/queue/lua with its includes, after the constants that it names.

A line `-- include: NAME.lua` stands for that file's text, the first time it comes. What Python and Lua both need to
know is a constant of CONSTANTS, and a local of the same name in Lua.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from core.queue.keys import IN_PROGRESS, PAYLOAD
from core.queue.payload import FLOW, PAYLOAD_LIFE_MS

# Scores below are virtual time; real times in ms have been above since 2001, and a lane never counts so far.
VIRTUAL_SCORES: Final = 10**12
# A tenant counts as running for so long after its last run ended: between two of its jobs nothing is given away.
LINGER_MS: Final = 1000
# In one claim, of what its flow has no slots for.
MAX_PARKED: Final = 500

CONSTANTS: Final[Mapping[str, str | int]] = {
    "PAYLOAD": PAYLOAD,
    "IN_PROGRESS": IN_PROGRESS,
    "FLOW": FLOW,
    "PAYLOAD_LIFE_MS": PAYLOAD_LIFE_MS,
    "VIRTUAL_SCORES": VIRTUAL_SCORES,
    "LINGER_MS": LINGER_MS,
    "MAX_PARKED": MAX_PARKED,
}
SCRIPTS: Final = ("enqueue", "claim", "finish", "renew_holds", "leave")

_INCLUDE: Final = re.compile(r"^-- include: (\w+)\.lua$", re.MULTILINE)


@cache
def lua_file(name: str) -> str:
    """The text of lua/{name}.lua as it stands."""
    return files("core.queue.lua").joinpath(f"{name}.lua").read_text(encoding="utf-8")


def lua_text(name: str) -> str:
    """The whole script, as Redis gets it."""
    included: set[str] = set()

    def expand(text: str) -> str:
        return _INCLUDE.sub(lambda line: include(line.group(1)), text)

    def include(name: str) -> str:
        if name in included:
            return ""
        included.add(name)
        return expand(lua_file(name))

    text = include(name)
    named = {each: value for each, value in CONSTANTS.items() if re.search(rf"\b{each}\b", text)}
    return "".join(f"local {each} = {value!r}\n" for each, value in named.items()) + text
