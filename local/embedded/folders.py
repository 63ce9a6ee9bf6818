"""The layout on disk: everything is in one folder `embedded` of the data directory, which inferd created and marked.

    <data dir>/embedded/    inferd-embedded.txt (the mark), lock, state.json, logs/, postgres/, valkey/, model/, run/

Two things may lie outside, each in a folder that names its origin and that `outside.txt` lists: the cluster, when root
runs the command and PostgreSQL's account can't enter the data directory (then /var/lib/inferd/<hash>); the sockets,
when their path would be too long or would need quoting in a URL (then there too, or /tmp/inferd-<uid>-<hash>).
Nothing that inferd did not create is used or deleted. The supervisor and reset call it.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cli.saved import folder_of, root_of
from local.embedded.errors import EmbeddedError
from local.embedded.privileges import SYSTEM_HOME, Account, account_for, is_root, may_enter, own_folder

_MARK = "inferd-embedded.txt"
_MARK_TEXT = "The data of inferd's embedded servers. `inferd reset` deletes this folder and nothing else.\n"
_OUTSIDE = "outside.txt"
_ORIGIN = "origin.txt"

# A socket's path may have 107 bytes on Linux, 103 on macOS; `/postgres/.s.PGSQL.5432` follows.
_SOCKET_FOLDER_BYTES = 76
# arq does not unquote the path of a unix: URL, redis-py does; so the path must need no quoting.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
# The shortest folder that exists on every system and that every user may write to; TMPDIR is long on macOS.
_TEMPORARY = Path("/tmp")  # noqa: S108  what is made in it is checked for its owner by own_folder


@dataclass(frozen=True)
class Folders:
    root: Path
    postgres: Path
    """Belongs to PostgreSQL's account; the cluster is in it."""
    sockets: Path
    account: Account | None
    """Who runs PostgreSQL; None is the user of the command."""

    @property
    def cluster(self) -> Path:
        return self.postgres / "data"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def postgres_sockets(self) -> Path:
        return self.sockets / "postgres"


def make_root(data_dir: Path) -> Path:
    """Returns the marked folder; creates it if needed. Raises EmbeddedError when it is not inferd's."""
    root = root_of(data_dir)
    # Root's data directory may be open to PostgreSQL's account; a user's is private.
    root.parent.mkdir(mode=0o755 if is_root() else 0o700, parents=True, exist_ok=True)
    check_root(root)
    if not root.exists():
        own_folder(root)
    (root / _MARK).write_text(_MARK_TEXT)
    return root


def check_root(root: Path) -> None:
    if not root.exists():
        return
    owner = root.stat().st_uid
    if owner != os.geteuid():
        raise EmbeddedError(f"{root} belongs to user {owner}, and you are user {os.geteuid()}: run as that user.")
    # An empty folder is what a kill between creating and marking leaves.
    if not (root / _MARK).is_file() and any(root.iterdir()):
        raise EmbeddedError(f"{root} was not made by inferd (it has no {_MARK}). Choose another INFERD_DATA_DIR.")


def lay_out(root: Path) -> Folders:
    """Returns every folder that the servers need; creates them if needed. The caller holds the lock."""
    home, account = _home_of_postgres(root)
    sockets = home / "run"
    if len(os.fsencode(sockets)) > _SOCKET_FOLDER_BYTES or not _PLAIN.fullmatch(str(sockets)):
        sockets = _outside(root, account) / "run"
    folders = Folders(root=root, postgres=home / "postgres", sockets=sockets, account=account)
    own_folder(folders.postgres, owner=account)
    own_folder(folders.sockets, 0o710 if account else 0o700, group=account)
    own_folder(folders.postgres_sockets, owner=account)
    for folder in (folders.logs, folders.valkey, folders.model):
        own_folder(folder)
    return folders


def has_cluster(root: Path) -> bool:
    """Whether a database was created. The caller holds the lock."""
    return (lay_out(root).cluster / "PG_VERSION").is_file()


def outside_of(root: Path) -> list[Path]:
    """Returns the folders elsewhere that belong to this root alone, so that reset may delete them."""
    return [path for path in _listed(root) if _origin(path) == root or not _origin(path).exists()]


def _home_of_postgres(root: Path) -> tuple[Path, Account | None]:
    account = account_for(root)
    if account is None:
        return root, None
    for path in _listed(root):
        if (path / "postgres").is_dir():
            if _origin(path) != root:
                raise EmbeddedError(
                    f"{root.parent} was moved or copied from {_origin(path).parent}, and its PostgreSQL data is in "
                    f"{path}. Put it back, or run `inferd reset` to start with an empty database."
                )
            return path, account_for(path)
    if may_enter(root.parent, account):
        os.chown(root, -1, account.gid)
        root.chmod(0o710)
        return root, account
    if (root / "postgres").exists():
        raise EmbeddedError(f"PostgreSQL runs as user {account.uid}, which can't enter {root.parent} any more.")
    home = _outside(root, account)
    return home, account_for(home)


def _outside(root: Path, account: Account | None) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    if account is None:
        path = own_folder(_TEMPORARY / f"inferd-{os.geteuid()}-{name}")
    else:
        SYSTEM_HOME.parent.mkdir(parents=True, exist_ok=True)
        path = own_folder(own_folder(SYSTEM_HOME, 0o755) / name, 0o710, group=account).resolve()
    (path / _ORIGIN).write_text(f"{root}\n")
    if path not in _listed(root):
        with (root / _OUTSIDE).open("a") as listed:
            listed.write(f"{path}\n")
    return path


def _listed(root: Path) -> list[Path]:
    listed = root / _OUTSIDE
    paths = [Path(line) for line in listed.read_text().splitlines()] if listed.is_file() else []
    return [path for path in paths if (path / _ORIGIN).is_file()]


def _origin(path: Path) -> Path:
    return Path((path / _ORIGIN).read_text().rstrip("\n"))


def make_serve_folder(data_dir: Path) -> Path:
    """Returns the folder of cli/saved.py; creates it if needed. Its parent must exist."""
    return own_folder(folder_of(data_dir))
