"""One command at a time on one data directory.

While the context is open, no other `run_embedded` or `reset` works on the same folder, across processes and containers
that share it. The kernel releases the lock with its process, so none is ever left behind. The supervisor and reset
call it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.embedded.errors import InUse


@contextmanager
def only_command(root: Path) -> Iterator[None]:
    """Raises InUse, with the pid of the owner, instead of waiting."""
    descriptor = _acquire(root / "lock")
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        # Not inherited by the servers: they must not keep the lock of a command that was killed.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # `reset` deletes the file while it holds it, so the locked file must still be the one at this path.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0)
            os.close(descriptor)
            raise InUse(str(path.parent.parent), int(owner) if owner.isdigit() else None) from None
        os.close(descriptor)
