"""Finds and stops servers that outlived a command which was killed. A pid alone is never trusted.

Guarantees that a process is signalled only if it is the recorded one (pid, start time and boot agree) or a postmaster
that works in this very cluster; a number that the system gave to a stranger is left alone. Stopping and starting again
is chosen over adopting: the new command is the parent of its servers, so it learns when one dies.
Called by the supervisor, under the lock, before anything starts, and by reset.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_HAS_PROC = Path("/proc/self/stat").exists()
_POLL_SECONDS = 0.02
# Fast shutdown, then immediate shutdown, then SIGKILL. The last leaves backends, which end when they notice.
_FAREWELL = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 3.0))


@dataclass(frozen=True)
class Identity:
    """Identifies a process, so that a later one with the same pid is not mistaken for it."""

    pid: int
    started: str


def identity_of(pid: int) -> Identity | None:
    """Returns None when there is no such process, or only its zombie."""
    if _HAS_PROC:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] == "Z" else Identity(pid, f"{boot} {fields[19]}")
    started = _ps(pid, "lstart=")
    return Identity(pid, started) if started else None


def record(root: Path, servers: Mapping[str, Identity]) -> None:
    """Replaces the record of running servers in one step: a kill leaves the old record or the new one."""
    path = root / "state.json"
    fresh = path.with_suffix(".new")
    known = {name: asdict(identity) for name, identity in servers.items()}
    fresh.write_text(json.dumps({"root": str(root), "servers": known}))
    fresh.chmod(0o600)
    fresh.replace(path)


def stop_leftovers(root: Path, clusters: Sequence[Path]) -> list[str]:
    """Stops what still runs from these folders, and returns the names of the servers that it found."""
    found = _recorded(root)
    for cluster in clusters:
        postmaster = _postmaster_of(cluster)
        if postmaster is not None and postmaster not in found.values():
            found["PostgreSQL"] = postmaster
    for number, seconds in _FAREWELL:
        for identity in filter(_lives, found.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, number)
        _wait(lambda: not any(map(_lives, found.values())), seconds)
    _wait(lambda: not any(map(_works_in, clusters)), 5.0)
    for cluster in clusters:
        _forget_stranger(cluster)
    record(root, {})
    return sorted(found)


def _lives(identity: Identity) -> bool:
    return identity_of(identity.pid) == identity


def _recorded(root: Path) -> dict[str, Identity]:
    path = root / "state.json"
    state = json.loads(path.read_text()) if path.is_file() else {}
    # In a copied data directory the record is about the servers of the original.
    if state.get("root") != str(root):
        return {}
    known = {name: Identity(**entry) for name, entry in state["servers"].items()}
    return {name: identity for name, identity in known.items() if _lives(identity)}


def _postmaster_pid(cluster: Path) -> int | None:
    path = cluster / "postmaster.pid"
    first = path.read_text().splitlines()[:1] if path.is_file() else []
    return int(first[0]) if first and first[0].strip().isdigit() else None


def _postmaster_of(cluster: Path) -> Identity | None:
    """Returns a postmaster that is not recorded: the command was killed between its start and its record."""
    pid = _postmaster_pid(cluster)
    if pid is None:
        return None
    ours = pid in _works_in(cluster) if _HAS_PROC else str(cluster) in _ps(pid, "command=")
    return identity_of(pid) if ours else None


def _forget_stranger(cluster: Path) -> None:
    # PostgreSQL refuses to start while the pid in its file exists, even if it is another process of the same user.
    pid = _postmaster_pid(cluster)
    if pid is not None and identity_of(pid) is not None and not _works_in(cluster):
        (cluster / "postmaster.pid").unlink()


def _works_in(cluster: Path) -> list[int]:
    """Returns PostgreSQL's processes whose working directory is this cluster: the postmaster and every backend."""
    if not _HAS_PROC:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "comm").read_text().startswith("postgres") and (entry / "cwd").readlink() == cluster:
                    found.append(int(entry.name))
    return found


def _ps(pid: int, column: str) -> str:
    command: Sequence[str] = ("/bin/ps", "-o", column, "-p", str(pid))
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603  fixed


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
