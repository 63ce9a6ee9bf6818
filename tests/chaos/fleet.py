"""The processes under attack: API and workers as a fleet runs them, to be killed, stopped, paused and started again."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import strftime, time

from tests.support.forked import Forked, fork

_ROOT = Path(__file__).parents[2]
_STOP_SECONDS = 60.0
_WATCH_SECONDS = 0.5


@dataclass
class Member:
    """One place in the fleet, and whatever process has it now."""

    name: str
    module: str
    environment: Mapping[str, str]
    log: Path
    forked: bool = False
    """Forked from a process that has imported the product, which is a second faster (tests/support/forked.py)."""
    process: "subprocess.Popen[bytes] | Forked | None" = None
    paused: bool = False
    # While it is, the end of its process is nobody's surprise.
    ending: bool = False

    def start(self) -> None:
        environment = {"PATH": os.environ["PATH"], **self.environment}
        if self.forked:
            self.process = fork(self.module, environment, _ROOT, self.log)
        else:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", self.module], env=environment, cwd=_ROOT, stdout=log, stderr=log
                )
        self.paused = self.ending = False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None and not self.paused

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit code. Raises TimeoutError."""
        assert self.process is not None
        async with asyncio.timeout(_STOP_SECONDS):
            while (code := self.process.poll()) is None:
                await asyncio.sleep(0.02)
        return code


@dataclass(frozen=True)
class Gone:
    """A worker that could not hold its calls from `start` to `end` (Unix seconds): killed, paused or told to stop."""

    member: str
    how: str
    start: float
    end: float


@dataclass
class Fleet:
    """`gone` names the workers that lost their calls, and when."""

    apis: list[Member]
    workers: list[Member]
    gone: list[Gone] = field(default_factory=list)
    unclean: list[str] = field(default_factory=list)
    _watching: "asyncio.Task[None] | None" = None

    @property
    def kills(self) -> list[Gone]:
        return [each for each in self.gone if each.how == "killed"]

    @property
    def members(self) -> list[Member]:
        return [*self.apis, *self.workers]

    def start(self) -> None:
        for member in self.members:
            member.start()
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Starts again what ended by itself, as whatever runs a fleet does; and says so, for it should not have."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for member in self.members:
                if member.process is not None and not member.ending and (code := member.process.poll()) is not None:
                    self.unclean.append(f"{member.name} ended by itself with {code} at {strftime('%H:%M:%S')}")
                    self._note(member, "ended by itself", time())
                    member.start()

    async def kill(self, member: Member, *, down: float) -> None:
        """kill -9, and another process in its place after `down` seconds."""
        started = time()
        member.ending = True
        member.signal(signal.SIGKILL)
        await member.ended()
        self._note(member, "killed", started)
        await asyncio.sleep(down)
        member.start()

    async def pause(self, member: Member, *, seconds: float) -> None:
        """SIGSTOP for longer than a lease, and on again: a zombie that believes it still owns its jobs."""
        started = time()
        member.paused = True
        member.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            member.signal(signal.SIGCONT)
            member.paused = False
            self._note(member, "paused", started)

    async def replace(self, member: Member) -> None:
        """SIGTERM, the drain, and a new process, as a deploy does."""
        started = time()
        member.ending = True
        member.signal(signal.SIGTERM)
        code = await member.ended()
        self._note(member, "stopped", started)
        # One that had only just been started has no handler yet, and nothing to hand over either.
        if code not in (0, -signal.SIGTERM):
            self.unclean.append(f"{member.name} ended with {code} on SIGTERM")
        member.start()

    def _note(self, member: Member, how: str, started: float) -> None:
        if member in self.workers:
            self.gone.append(Gone(member.name, how, started, time()))

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        for member in self.members:
            if member.process is not None and member.process.poll() is None:
                member.signal(signal.SIGCONT)
                member.signal(signal.SIGTERM)
        for member in self.members:
            if member.process is None:
                continue
            try:
                await member.ended()
            except TimeoutError:
                member.signal(signal.SIGKILL)
                member.process.wait()
                self.unclean.append(f"{member.name} did not end on SIGTERM")
