"""Processes of the product that start at once, to be killed, stopped, continued and told to stop.

Importing the product takes a second of CPU. So one process has imported it (multiprocessing's fork server), and each
process here is a fork of that one, which runs the entry point as `python -m MODULE` does, with an environment of its own.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final

_FORK_SERVER: Final = multiprocessing.get_context("forkserver")
_FORK_SERVER.set_forkserver_preload(["tests.support.preload"])


class Forked:
    """As much of subprocess.Popen as tests need."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self) -> int:
        """Blocks until it has ended, and returns the exit code."""
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(module: str, environment: Mapping[str, str], folder: Path, log: Path | None = None) -> Forked:
    """`module.main()` in a process whose environment is `environment` and nothing else, in `folder`."""
    process = _FORK_SERVER.Process(target=_run, args=(module, dict(environment), str(folder), log and str(log)))
    process.start()
    return Forked(process)


def _run(module: str, environment: dict[str, str], folder: str, log: str | None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if log is not None:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
    sys.argv = [module]
    sys.exit(import_module(module).main())
