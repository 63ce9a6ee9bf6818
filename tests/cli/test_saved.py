"""What `inferd serve` keeps is for its owner alone, and goes with its data."""

import base64
from pathlib import Path

import pytest

from cli import saved
from cli.saved import Running, Secrets
from core.embedded.folders import make_root
from core.embedded.reset import reset
from tests.support.folders import open_folder


@pytest.fixture
def data_dir(own_folder: Path) -> Path:
    make_root(own_folder / "inferd")
    saved.make_folder(own_folder / "inferd")
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
        saved.make_folder(folder / "inferd")
        saved.save_secrets(folder / "inferd", Secrets("m", "k"))
        reset(folder / "inferd")
        assert saved.load_secrets(folder / "inferd") is None
