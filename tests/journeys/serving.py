"""`inferd serve` as a user has it: the installed command, a process of its own, a port and a data directory."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INFERD = Path(sys.executable).with_name("inferd")
START_SECONDS = 120
READY = "Ctrl-C stops everything"


@dataclass
class Serve:
    """A started `inferd serve` that has said that it is ready. `said` is all that it has printed."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    @property
    def api_key(self) -> str:
        (line,) = [line for line in self.said if line.strip().startswith("API key")]
        return line.split()[-1]

    def family(self) -> dict[int, str]:
        """Every process that it has started, and those have started, by pid."""
        return descendants(self.process.pid)

    def stop(self, number: signal.Signals) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(30)


@dataclass(frozen=True)
class Place:
    """Where one or several `inferd serve` run, one after the other."""

    folder: Path
    port: int

    @property
    def data_dir(self) -> Path:
        return self.folder / "inferd"

    @property
    def environment(self) -> dict[str, str]:
        # A retry after a fifth of a second, not after seconds: what is shown is the same.
        retry = {"INFERD_JOB_RETRY_INITIAL_SECONDS": "0.2"}
        return {**os.environ, **retry, "XDG_DATA_HOME": str(self.folder), "COLUMNS": "200"}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another `inferd …`, from another terminal, to its end."""
        return subprocess.run(
            [INFERD, *arguments], env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )

    def job(self, *arguments: str) -> dict[str, Any]:
        """The job of an `inferd run`, which must succeed."""
        done = self.command("run", *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @contextmanager
    def serve(self) -> Iterator[Serve]:
        """Started and ready; killed at the end if it still runs."""
        process = subprocess.Popen(
            [INFERD, "serve", "--port", str(self.port)],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        # A start that hangs ends here, and the reading of its output with it.
        alarm = threading.Timer(START_SECONDS, process.kill)
        alarm.start()
        serve = Serve(process)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                serve.said.append(line.rstrip())
                if READY in line:
                    break
            else:
                raise AssertionError("it did not start:\n" + "\n".join(serve.said))
            alarm.cancel()
            yield serve
        finally:
            alarm.cancel()
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def descendants(root: int) -> dict[int, str]:
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()]
    found: dict[int, str] = {}
    parents = {root}
    while parents:
        children = {int(pid): what for pid, parent, what in rows if int(parent) in parents}
        parents = set(children) - set(found)
        found |= children
    return found
