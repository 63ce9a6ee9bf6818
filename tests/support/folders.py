"""Folders that leave nothing behind."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every account may enter, as /var/lib is; pytest's own lies below one that is closed."""
    path = Path(tempfile.mkdtemp(prefix="inferd-test-", dir="/tmp")).resolve()
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)
