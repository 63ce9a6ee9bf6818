"""Deletes the embedded servers' data: `inferd reset`, and the tests' last step.

Afterwards nothing runs from the data directory. Only folders that inferd created and marked for this data directory are
deleted, wherever they are; everything else in the data directory stays. Raises InUse while a command runs.
"""

import contextlib
import shutil
from pathlib import Path

from cli.saved import root_of
from local.embedded.folders import check_root, outside_of
from local.embedded.leftovers import stop_leftovers
from local.embedded.lock import only_command
from local.embedded.privileges import SYSTEM_HOME


def reset(data_dir: Path) -> None:
    root = root_of(data_dir)
    if not root.exists():
        return
    check_root(root)
    with only_command(root):
        outside = outside_of(root)
        stop_leftovers(root, [folder / "postgres" / "data" for folder in (root, *outside)])
        for folder in (*outside, root):
            shutil.rmtree(folder)
    # Copies of the binaries stay: another data directory may use them.
    with contextlib.suppress(OSError):
        SYSTEM_HOME.rmdir()
