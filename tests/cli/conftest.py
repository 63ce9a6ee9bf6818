"""The command line as its user has it: an argument list in, an exit code and two streams out."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.main import main
from tests.cli.scripted_api import ScriptedApi, serve


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


Invoke = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working directory, with no .env in it, and the place of the data directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Runs `inferd …` in this process, to its end."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["inferd", *arguments])
        capsys.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return Outcome(code if isinstance(code, int) else 0, said.out, said.err)

    return run


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    """A server on a real socket that answers what it is told to."""
    with serve() as scripted:
        yield scripted
