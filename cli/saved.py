"""The files that `inferd serve` keeps in its data directory; only their owner can read them.

    secrets.json    the master key and the development API key: made before the database, used again at each start
    running.json    the addresses of the servers; it exists while `inferd serve` runs, or after it was killed

They lie in the folder of the embedded servers, so `inferd reset` deletes them with the data that they belong to.
Written by local/stack.py; read by `inferd run` and the operator's commands, which then need no settings.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cli.exit_codes import CommandFailed

_KEY_BYTES = 32


@dataclass(frozen=True)
class Secrets:
    master_key: str | None
    """None when the data was encrypted with an INFERD_MASTER_KEY of the user's from the start."""
    api_key: str | None = None


@dataclass(frozen=True)
class Running:
    """The addresses of the servers of a started `inferd serve`."""

    api_url: str
    database_url: str
    owner_url: str
    redis_url: str
    local_base_url: str | None = None
    local_api_key: str | None = None


def root_of(data_dir: Path) -> Path:
    """Returns the folder of the embedded servers and of everything beside them."""
    return data_dir.expanduser().resolve() / "embedded"


def folder_of(data_dir: Path) -> Path:
    return root_of(data_dir) / "serve"


def load_secrets(data_dir: Path) -> Secrets | None:
    """Returns None when there is no file. Raises CommandFailed for a file that can't be read."""
    path = _secrets_path(data_dir)
    try:
        return Secrets(**json.loads(path.read_text())) if path.is_file() else None
    except (OSError, ValueError, TypeError):
        raise CommandFailed(f"{path} can't be read. {_what_to_do(path)}") from None


def first_secrets(data_dir: Path, own_master_key: str | None, *, has_database: bool) -> Secrets:
    """Returns the secrets of the last start; at the first start makes and stores new ones.

    `own_master_key` is the user's INFERD_MASTER_KEY.

    Raises CommandFailed instead of making a new master key for a database that an older one has encrypted.
    """
    path = _secrets_path(data_dir)
    try:
        known = load_secrets(data_dir)
    except CommandFailed:
        # Without a database nothing is lost by a new key, whatever lies in the file.
        if has_database:
            raise
        known = None
    if known is None and has_database and own_master_key is None:
        raise CommandFailed(f"{path} is missing. {_what_to_do(path)}")
    if known is not None and known.master_key is None and own_master_key is None:
        raise CommandFailed(
            f"The database in {data_dir} is encrypted with an INFERD_MASTER_KEY that is not set now. Set it, or run "
            "`inferd reset` to delete every job and start with an empty database."
        )
    if known is None:
        known = Secrets(new_master_key() if own_master_key is None else None)
        save_secrets(data_dir, known)
    return known


def save_secrets(data_dir: Path, known: Secrets) -> None:
    _write(_secrets_path(data_dir), asdict(known))


def new_master_key() -> str:
    """Returns a random key in the format of INFERD_MASTER_KEY."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def load_running(data_dir: Path) -> Running | None:
    path = folder_of(data_dir) / "running.json"
    try:
        return Running(**json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError, TypeError):
        return None


def save_running(data_dir: Path, running: Running) -> None:
    _write(folder_of(data_dir) / "running.json", asdict(running))


def forget_running(data_dir: Path) -> None:
    (folder_of(data_dir) / "running.json").unlink(missing_ok=True)


def _secrets_path(data_dir: Path) -> Path:
    return folder_of(data_dir) / "secrets.json"


def _what_to_do(path: Path) -> str:
    return (
        "It holds the master key that the database beside it is encrypted with. Put the file back from a backup, or "
        "set INFERD_MASTER_KEY to that key and remove the file; or run `inferd reset` to delete every job and start "
        f"with an empty database. The data directory is {path.parents[2]} (INFERD_DATA_DIR)."
    )


def _write(path: Path, content: Mapping[str, str | None]) -> None:
    # In one step and down to the disk: a kill or a power loss leaves the old file or the new one.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
