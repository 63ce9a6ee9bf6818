"""What `inferd serve` keeps in its data directory, in files that only their owner can read.

    secrets.json    the master key and the development API key: made once, used again at each start
    running.json    where the servers answer; it is there while `inferd serve` runs (or was killed)

They lie in the folder of the embedded servers, so `inferd reset` deletes them with the data that they belong to.
Written by cli/stack.py; read by `inferd run` and the operator's commands, which then need no settings.
"""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from core.embedded.folders import root_of
from core.embedded.privileges import own_folder

_KEY_BYTES = 32


@dataclass(frozen=True)
class Secrets:
    master_key: str
    api_key: str | None = None


@dataclass(frozen=True)
class Running:
    """Where a started `inferd serve` answers."""

    api_url: str
    database_url: str
    owner_url: str
    redis_url: str


def folder_of(data_dir: Path) -> Path:
    return root_of(data_dir) / "serve"


def make_folder(data_dir: Path) -> Path:
    """The folder, made if need be. Its parent is there."""
    return own_folder(folder_of(data_dir))


def load_secrets(data_dir: Path) -> Secrets | None:
    path = folder_of(data_dir) / "secrets.json"
    return Secrets(**json.loads(path.read_text())) if path.is_file() else None


def save_secrets(data_dir: Path, known: Secrets) -> None:
    _write(folder_of(data_dir) / "secrets.json", asdict(known))


def new_master_key() -> str:
    """As INFERD_MASTER_KEY takes it."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def load_running(data_dir: Path) -> Running | None:
    path = folder_of(data_dir) / "running.json"
    try:
        return Running(**json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def save_running(data_dir: Path, running: Running) -> None:
    _write(folder_of(data_dir) / "running.json", asdict(running))


def forget_running(data_dir: Path) -> None:
    (folder_of(data_dir) / "running.json").unlink(missing_ok=True)


def _write(path: Path, content: dict[str, str]) -> None:
    # In one step: a kill leaves the old file or the new one.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(content, file)
    fresh.replace(path)
