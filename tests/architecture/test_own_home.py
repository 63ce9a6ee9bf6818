"""The suite works in a home and a data directory of its own: a developer's `inferd serve` never notices it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.architecture.repository import ROOT

# What a test of the command line does, first in a process that has loaded the suite's conftest, then in its child.
_PROBE = """
import subprocess, sys
import tests.conftest
write = '''
from cli import saved
from local.embedded.folders import make_serve_folder
from cli.configuration import storeless_settings
from local.embedded.folders import make_root
data_dir = storeless_settings().data_dir
make_root(data_dir)
make_serve_folder(data_dir)
saved.save_secrets(data_dir, saved.Secrets(saved.new_master_key()))
print(data_dir, flush=True)
'''
exec(write)
subprocess.run([sys.executable, "-c", write], check=True)
tests.conftest.pytest_unconfigure()
"""


def test_the_suite_and_its_processes_write_into_no_data_directory_of_the_user(tmp_path: Path) -> None:
    theirs = {"HOME": tmp_path / "home", "XDG_DATA_HOME": tmp_path / "xdg", "INFERD_DATA_DIR": tmp_path / "named"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{name: str(path) for name, path in theirs.items()}}
    ended = subprocess.run(
        [sys.executable, "-c", _PROBE], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    first, second = map(Path, ended.stdout.splitlines())
    assert first == second
    assert not first.exists()
    assert not list(tmp_path.iterdir())
