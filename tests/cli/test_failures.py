"""A wrong setting is one clear line and exit code 2; what is a bug keeps its traceback."""

import os
import socket
from pathlib import Path

import pytest

from cli.client import run
from cli.exit_codes import CommandFailed
from local.embedded.folders import make_root
from local.embedded.lock import only_command
from local.processes import browsable, check_port, free_port
from tests.cli.conftest import Invoke


@pytest.mark.parametrize(
    "command",
    [["api"], ["worker"], ["migrate"], ["keys", "list"], ["tenants", "create", "x"], ["webhook-secret"]],
)
def test_a_missing_store_is_named(command: list[str], invoke: Invoke) -> None:
    outcome = invoke(*command)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "INFERD_DATABASE_URL: is not set" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    # Whoever runs `inferd serve` in another terminal learns why it is not found.
    hint = "inferd serve --workers" if command[0] in {"api", "worker"} else "INFERD_DATA_DIR or --data-dir"
    assert hint in outcome.stderr


@pytest.mark.parametrize("command", [["serve"], ["run", "Hi", "-m", "echo/echo"], ["reset", "--yes"]])
def test_a_wrong_value_is_named(command: list[str], invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_JOB_MAX_ATTEMPTS", "many")
    outcome = invoke(*command)
    assert outcome.exit_code == 2
    assert "INFERD_JOB_MAX_ATTEMPTS" in outcome.stderr


def test_a_variable_that_nothing_reads_is_a_warning(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_MASTERKEY", "x")
    outcome = invoke("reset", "--yes")
    assert outcome.exit_code == 0
    assert "warning: nothing reads INFERD_MASTERKEY; did you mean INFERD_MASTER_KEY?" in outcome.stderr


def test_a_bug_is_not_hidden(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(run, "run", broken)
    with pytest.raises(ZeroDivisionError):
        invoke("run", "Hi", "-m", "echo/echo")


def test_reset_asks_before_it_deletes(invoke: Invoke, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("data")
    root = make_root(folder)
    outcome = invoke("reset", "--data-dir", str(folder))
    assert outcome.exit_code == 2
    assert "--yes" in outcome.stderr
    assert root.exists()
    assert invoke("reset", "--data-dir", str(folder), "--yes").exit_code == 0
    assert not root.exists()


def test_serve_says_that_its_port_is_taken(invoke: Invoke) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = invoke("serve", "--port", str(port))
    assert outcome.exit_code == 1
    assert f"127.0.0.1:{port}" in outcome.stderr
    assert f"inferd serve --port {port + 1}" in outcome.stderr


def test_a_port_can_be_checked_and_found() -> None:
    check_port("127.0.0.1", free_port("127.0.0.1"), "")
    with pytest.raises(CommandFailed, match=r"can't listen on 192\.0\.2\.1:1"):
        check_port("192.0.2.1", 1, "Choose another.")


def test_what_the_api_listens_on_is_not_always_what_is_called() -> None:
    hosts = ("0.0.0.0", "::", "127.0.0.1", "::1", "box.example")  # noqa: S104 - looked up, not bound
    assert [browsable(host) for host in hosts] == ["127.0.0.1", "[::1]", "127.0.0.1", "[::1]", "box.example"]


def test_the_version_is_shown(invoke: Invoke) -> None:
    from core.version import VERSION

    assert invoke("--version").stdout.startswith(f"inferd {VERSION} ")


def test_a_second_serve_names_the_first(invoke: Invoke, own_folder: Path) -> None:
    with only_command(make_root(own_folder / "inferd")):
        outcome = invoke("serve")
    assert outcome.exit_code == 1
    assert f"in use by process {os.getpid()}" in outcome.stderr
