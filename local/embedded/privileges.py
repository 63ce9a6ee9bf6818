"""Which account PostgreSQL runs as when the command runs as root, and which folders that account may enter.

PostgreSQL refuses to run as root. No account is created, no mode of a folder that inferd did not create is changed, and
other programs that run as `nobody` can't reach the data, because PostgreSQL runs with a group of its own that only
inferd's folders admit. folders, binaries and processes call it.
"""

import grp
import os
import pwd
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from local.embedded.errors import EmbeddedError

# For files that the account must reach when it can't enter the data directory, such as /root.
SYSTEM_HOME = Path("/var/db/inferd" if sys.platform == "darwin" else "/var/lib/inferd")

# initdb needs an account with a name; every system has this one.
_ACCOUNT = "nobody"
# No distribution and no systemd assigns these group numbers, and container runtimes map them.
_GROUPS = range(65_521, 65_534)


@dataclass(frozen=True)
class Account:
    uid: int
    gid: int


def is_root() -> bool:
    return os.geteuid() == 0


def account_for(home: Path) -> Account | None:
    """Returns the account to run PostgreSQL as, with its data under `home`; None unless the command runs as root."""
    if not is_root():
        return None
    try:
        uid = pwd.getpwnam(_ACCOUNT).pw_uid
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL can't run as root, and there is no account `{_ACCOUNT}` to run it as: run as a normal user."
        ) from None
    gid = home.stat().st_gid if home.exists() else 0
    return Account(uid, gid if gid in _GROUPS else _free_group())


def _free_group() -> int:
    taken = {entry.gr_gid for entry in grp.getgrall()}
    for gid in _GROUPS:
        if gid not in taken:
            return gid
    raise EmbeddedError(f"The groups {_GROUPS[0]} to {_GROUPS[-1]} are all taken: run inferd as a normal user.")


def may_enter(folder: Path, account: Account | None) -> bool:
    """Whether the account may enter every folder down to this one, by their modes."""
    if account is None:
        return True
    return all(_is_open(level.stat(), account) for level in (folder, *folder.parents))


def _is_open(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def own_folder(path: Path, mode: int = 0o700, *, owner: Account | None = None, group: Account | None = None) -> Path:
    """Creates a folder of inferd, or accepts an existing one with exactly these properties; refuses any other.

    `owner` gets the folder; `group` may enter a folder that stays root's.
    """
    uid = owner.uid if owner else os.geteuid()
    gid = (owner or group or Account(-1, -1)).gid
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o022:
            raise EmbeddedError(
                f"{path} is not a folder that only user {uid} may write to. If it is yours, move it away; "
                "otherwise choose another INFERD_DATA_DIR."
            ) from None
    else:
        if owner or group:
            os.chown(path, uid, gid)
        path.chmod(mode)
    return path
