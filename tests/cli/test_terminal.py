"""What the messages tell a reader to type is what their shell finds, and what they would copy is whole."""

import os
import sys
from pathlib import Path

import pytest

from cli.command_name import as_typed, command_name
from cli.terminal import print_table
from local.main import main


@pytest.fixture
def installed(own_folder: Path) -> Path:
    path = own_folder / ".venv" / "bin" / "inferd"
    path.parent.mkdir(parents=True)
    path.touch(0o755)
    return path


@pytest.mark.parametrize("given", [".venv/bin/inferd", "absolute"])
def test_off_the_path_it_is_the_path(given: str, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(installed) if given == "absolute" else given])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert command_name() == ".venv/bin/inferd"
    assert as_typed("Run `inferd migrate`.") == "Run `.venv/bin/inferd migrate`."
    (installed.parent / "deeper").mkdir()
    monkeypatch.setattr(sys, "argv", [str(installed)])
    monkeypatch.chdir(installed.parent / "deeper")
    assert command_name() == str(installed)


def test_errors_and_usage_name_the_command_as_it_was_called(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    for command, said in {"api": "`.venv/bin/inferd serve`", "run": ".venv/bin/inferd run -h"}.items():
        monkeypatch.setattr(sys, "argv", [str(installed), command])
        with pytest.raises(SystemExit):
            main()
        assert said in capsys.readouterr().err


def test_on_the_path_it_is_the_name(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{installed.parent}{os.pathsep}/usr/bin")
    for given in (str(installed), ".venv/bin/inferd", "inferd", "/somewhere/local/main.py"):
        monkeypatch.setattr(sys, "argv", [given])
        assert command_name() == "inferd"


def test_ids_and_keys_are_not_wrapped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    key = "inf_live_0123456789abcdef_…"
    print_table(("key", "name", "created_at"), [{"key": key, "name": "a name " * 4, "created_at": "x" * 19}])
    assert key in capsys.readouterr().out
