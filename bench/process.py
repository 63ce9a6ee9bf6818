"""A measured process: a Python module as a child that ends with the bench, with its CPU and memory."""

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any

import psutil

from local.embedded.processes import Child, Program

_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Process:
    """A running module."""

    child: Child

    @property
    def cpu_seconds(self) -> float:
        """Returns the user and system time so far, in seconds."""
        times = psutil.Process(self.child.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def resident_bytes(self) -> int:
        return int(psutil.Process(self.child.pid).memory_info().rss)


@asynccontextmanager
async def start(
    name: str, module: Sequence[str], environment: Mapping[str, str], folder: Path, *, seconds: float = _STOP_SECONDS
) -> AsyncIterator[Process]:
    """`python -m MODULE [ARGUMENT ...]` until the block ends; its output goes to `folder`/NAME.log."""
    child = Child(_program(name, module, environment, folder, seconds))
    try:
        yield Process(child)
    finally:
        await child.stop()


async def run(name: str, module: Sequence[str], environment: Mapping[str, str], folder: Path) -> Any:
    """Runs such a module to its end; returns the JSON of its last line. Raises ServerDied when it fails."""
    child = Child(_program(name, module, environment, folder, _STOP_SECONDS))
    try:
        if await child.exited != 0:
            raise child.died()
    finally:
        if not child.exited.done():
            child.kill()
    return json.loads(child.last_lines()[-1])


def _program(name: str, module: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float) -> Program:
    return Program(
        name=name,
        command=[sys.executable, "-m", *module],
        folder=folder,
        log=folder / f"{name}.log",
        stop_signals=((SIGTERM, seconds),),
        environment=environment,
    )
