"""Folders that leave nothing behind: not even those of a suite that was killed, which the next one deletes."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_PARENT, _PREFIX, _LOCK = Path("/tmp"), "inferd-test-", "suite.lock"  # noqa: S108 - sockets need a short path


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every account may enter, as /var/lib is; pytest's own lies below one that is closed."""
    _delete_orphans()
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT)).resolve()
    with (path / "locking").open("w") as lock:
        # Held as long as this process lives, however it ends; and held before it has the name that others look for.
        fcntl.flock(lock, fcntl.LOCK_EX)
        (path / "locking").rename(path / _LOCK)
        path.chmod(0o755)
        try:
            yield path
        finally:
            shutil.rmtree(path)


def _delete_orphans() -> None:
    for lock in _PARENT.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), lock.open() as held:
            if _is_free(held):
                shutil.rmtree(lock.parent, ignore_errors=True)


def _is_free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
