"""One server as a child process: starts it, notices when it ends, reads the end of its log, stops it in bounded time.

The child has a session of its own, so a terminal's Ctrl-C reaches only the command, and a log file. On Linux it ends
with its parent, even after kill -9. When `stop` returns, the process has ended. subprocess.Popen and a waiting thread
are used instead of asyncio's subprocesses, which differ between loops (uvloop, a loop outside the main thread). The
supervisor, postgres, valkey and local_model use it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import TypeVar

from local.embedded.errors import NotReady, ServerDied
from local.embedded.privileges import Account

_LAUNCHER = Path(__file__).with_name("launch.py")
_LOG_LIMIT = 5_000_000
_POLL_SECONDS = 0.02
_TAIL_LINES = 8

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run. `stop_signals` end it, mildest first, each with the seconds that it may take; SIGKILL follows."""

    name: str
    command: Sequence[str]
    folder: Path
    log: Path
    stop_signals: Sequence[tuple[signal.Signals, float]]
    account: Account | None = None
    environment: Mapping[str, str]


class Child:
    """A started program. `exited` gets its status once it has ended and been reaped."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        with _open_log(program.log) as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603  a fixed list of arguments, no shell
                launcher(program.command, program.account, program.stop_signals[0][0]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=program.folder,
                env=dict(program.environment),
                start_new_session=True,
            )
        self.pid = self._process.pid
        threading.Thread(target=self._reap, name=f"wait-{program.name}", daemon=True).start()

    def _reap(self) -> None:
        code = self._process.wait()
        # The loop is closed only when the command is ending without stopping its servers.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._set_exited, code)

    def _set_exited(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)

    def last_lines(self) -> list[str]:
        """The last lines that this run, not an earlier one, wrote to its log."""
        with self.program.log.open("rb") as log:
            log.seek(max(self._log_start, os.fstat(log.fileno()).st_size - 16_384))
            lines = log.read().decode(errors="replace").splitlines()
        return lines[-_TAIL_LINES:]

    def died(self) -> ServerDied:
        return ServerDied(self.program.name, self.exited.result(), str(self.program.log), self.last_lines())

    def kill(self) -> None:
        # The whole session, because the program may have started others; it may have ended already.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        try:
            for number, seconds in self.program.stop_signals:
                self._process.send_signal(number)
                done, _ = await asyncio.wait({self.exited}, timeout=seconds)
                if done:
                    return
        finally:
            if not self.exited.done():
                self.kill()
        await self.exited


async def wait_for_first(child: Child, probe: Callable[[], Awaitable[Result | None]], seconds: float) -> Result:
    """What `probe` returns once it is not None. Raises ServerDied as soon as the child ends, NotReady at the limit."""
    try:
        async with asyncio.timeout(seconds):
            while not child.exited.done():
                answer = await probe()
                if answer is not None:
                    return answer
                await asyncio.wait({child.exited}, timeout=_POLL_SECONDS)
    except TimeoutError:
        raise NotReady(child.program.name, seconds, str(child.program.log)) from None
    raise child.died()


async def run_to_end(program: Program, seconds: float) -> None:
    """Runs a program that ends by itself. Raises ServerDied for a status other than 0, NotReady at the limit."""
    child = Child(program)
    try:
        done, _ = await asyncio.wait({child.exited}, timeout=seconds)
    finally:
        if not child.exited.done():
            child.kill()
    if not done:
        raise NotReady(program.name, seconds, str(program.log))
    if child.exited.result() != 0:
        raise child.died()


def launcher(command: Sequence[str], account: Account | None, last_signal: signal.Signals) -> list[str]:
    """Returns the command line that runs `command` through launch.py."""
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    # -I and -S: no code of the user's environment runs before root is dropped, and it starts in 15 ms.
    python = [sys.executable, "-I", "-S", str(_LAUNCHER)]
    return [*python, str(os.getpid()), str(last_signal.value), str(uid), str(gid), *command]


def _open_log(path: Path) -> BufferedWriter:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")
