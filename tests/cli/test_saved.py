"""What `inferd serve` keeps is for its owner alone, and goes with its data."""

import base64
from pathlib import Path

import pytest

from cli import saved
from cli.exit_codes import CommandFailed
from cli.saved import Running, Secrets
from local.embedded.folders import lay_out, make_root, make_serve_folder
from local.embedded.lock import only_command
from local.embedded.reset import reset
from local.processes import free_port
from tests.cli.conftest import Invoke
from tests.support.folders import open_folder


@pytest.fixture
def data_dir(own_folder: Path) -> Path:
    make_root(own_folder / "inferd")
    make_serve_folder(own_folder / "inferd")
    return own_folder / "inferd"


def test_what_is_saved_is_read_again_and_closed_to_others(data_dir: Path) -> None:
    known, running = Secrets(saved.new_master_key(), "inf_live_x"), Running("http://x", "a", "b", "c")
    saved.save_secrets(data_dir, Secrets("older"))
    saved.save_secrets(data_dir, known)
    saved.save_running(data_dir, running)
    assert (saved.load_secrets(data_dir), saved.load_running(data_dir)) == (known, running)
    folder = saved.folder_of(data_dir)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "secrets.json": 0o600,
        "running.json": 0o600,
    }


def test_a_master_key_has_32_random_bytes() -> None:
    first, second = saved.new_master_key(), saved.new_master_key()
    assert first != second
    assert len(base64.b64decode(first)) == 32


def test_nothing_saved_is_none(own_folder: Path) -> None:
    assert saved.load_secrets(own_folder) is None
    assert saved.load_running(own_folder) is None


def test_what_does_not_run_any_more_is_forgotten_but_the_secrets_stay(data_dir: Path) -> None:
    saved.save_secrets(data_dir, Secrets("m", "k"))
    saved.save_running(data_dir, Running("http://x", "a", "b", "c"))
    saved.forget_running(data_dir)
    saved.forget_running(data_dir)
    assert saved.load_running(data_dir) is None
    assert saved.load_secrets(data_dir) == Secrets("m", "k")


def test_reset_deletes_the_keys_with_the_data() -> None:
    with open_folder() as folder:
        make_root(folder / "inferd")
        make_serve_folder(folder / "inferd")
        saved.save_secrets(folder / "inferd", Secrets("m", "k"))
        reset(folder / "inferd")
        assert saved.load_secrets(folder / "inferd") is None


def test_the_master_key_is_made_once_and_kept(data_dir: Path) -> None:
    made = saved.first_secrets(data_dir, None, has_database=False)
    assert made.master_key is not None
    assert saved.first_secrets(data_dir, None, has_database=True) == made
    assert saved.first_secrets(data_dir, saved.new_master_key(), has_database=True) == made


def test_a_key_of_the_users_own_is_not_stored_and_is_asked_for_from_then_on(data_dir: Path) -> None:
    own = saved.new_master_key()
    assert saved.first_secrets(data_dir, own, has_database=False) == Secrets(None)
    assert own not in (saved.folder_of(data_dir) / "secrets.json").read_text()
    with pytest.raises(CommandFailed, match="INFERD_MASTER_KEY that is not set now"):
        saved.first_secrets(data_dir, None, has_database=True)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"nothing": 1}'])
def test_no_start_replaces_the_master_key_of_a_database_that_is_there(
    content: str | None, own_folder: Path, invoke: Invoke
) -> None:
    with open_folder() as folder:
        data_dir = folder / "inferd"
        root = make_root(data_dir)
        with only_command(root):
            cluster = lay_out(root).cluster
        cluster.mkdir()
        (cluster / "PG_VERSION").write_text("17\n")
        make_serve_folder(data_dir)
        path = saved.folder_of(data_dir) / "secrets.json"
        if content is not None:
            path.write_text(content)
        outcome = invoke("serve", "--data-dir", str(data_dir), "--port", str(free_port("127.0.0.1")))
        assert outcome.exit_code == 1
        assert f"{path} " in outcome.stderr
        assert "INFERD_MASTER_KEY" in outcome.stderr
        assert "inferd reset" in outcome.stderr
        assert (path.read_text() if path.exists() else None) == content
        reset(data_dir)


def test_a_broken_file_without_a_database_is_replaced(data_dir: Path) -> None:
    (saved.folder_of(data_dir) / "secrets.json").write_text("{")
    assert saved.first_secrets(data_dir, None, has_database=False) == saved.load_secrets(data_dir)
