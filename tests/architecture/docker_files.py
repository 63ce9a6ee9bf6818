"""Reads Dockerfiles and docker-compose.yml as far as the tests of them need to."""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.architecture.repository import read

_INSTRUCTIONS = {
    "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "SHELL", "STOPSIGNAL", "USER", "WORKDIR",
}  # fmt: skip
_PAIR = re.compile(r"(\w+)=(\"[^\"]*\"|\S+)")
_FLAG = re.compile(r"^--([a-z-]+)=(\S+)\s+")


@dataclass(frozen=True)
class Instruction:
    name: str
    flags: tuple[tuple[str, str], ...]
    rest: str

    @property
    def words(self) -> list[str]:
        """The exec form's list, or the words of a COPY."""
        return list(json.loads(self.rest)) if self.rest.startswith("[") else self.rest.split()

    @property
    def pairs(self) -> dict[str, str]:
        """What an ENV sets."""
        return {name: value.strip('"') for name, value in _PAIR.findall(self.rest)}


def stages(path: str) -> list[list[Instruction]]:
    """The instructions of each stage. Raises ValueError for a line that no builder would take."""
    text = re.sub(r"(?m)^\s*#.*\n", "", read(path))
    found: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.partition(" ")
        if name not in _INSTRUCTIONS:
            raise ValueError(f"{path}: {line}")
        if name == "FROM":
            found.append([])
        flags = []
        while match := _FLAG.match(rest):
            flags.append((match[1], match[2]))
            rest = rest[match.end() :]
        found[-1].append(Instruction(name, tuple(flags), rest.strip()))
    return found


def instructions(path: str, name: str, *, stage: int = -1) -> list[Instruction]:
    return [each for each in stages(path)[stage] if each.name == name]


def environment(path: str) -> dict[str, str]:
    """What the finished image sets."""
    return {name: value for each in instructions(path, "ENV") for name, value in each.pairs.items()}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found
