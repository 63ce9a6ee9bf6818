"""Says whether requirements/ still is what `make lock` would write: `python -m tests.lock_drift UV`, part of `make check`.

Runs that very target in a copy of what it reads, on top of the present files, so a new release upstream is no drift but
a changed pyproject.toml is. Also refuses a line that names a place to download from: the files must work behind any
mirror.
"""

import difflib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FOLDER = "requirements"
_PLACES = re.compile(r"(?m)^\s*(?:-i|-f|--(?:extra-)?index-url|--find-links|--trusted-host)\b.*$|^.*\w+://.*$")
_SHOWN_LINES = 40


def read_locks(root: Path) -> dict[str, str]:
    """Each requirements file's name → its text."""
    return {path.name: path.read_text() for path in sorted((root / FOLDER).glob("*.txt"))}


def place_problems(locks: Mapping[str, str]) -> Iterator[str]:
    """The lines that tie an installation to one index."""
    for name, text in locks.items():
        for match in _PLACES.finditer(text):
            yield f"{FOLDER}/{name} names a place to download from: {match[0].strip()}"


def drift(present: Mapping[str, str], fresh: Mapping[str, str]) -> str:
    """The difference, or nothing."""
    lines: list[str] = []
    for name in sorted(present.keys() | fresh.keys()):
        old, new = present.get(name, "").splitlines(), fresh.get(name, "").splitlines()
        lines += difflib.unified_diff(
            old, new, f"{FOLDER}/{name}", f"{FOLDER}/{name} after make lock", lineterm="", n=1
        )
    if len(lines) > _SHOWN_LINES:
        lines[_SHOWN_LINES:] = [f"… and {len(lines) - _SHOWN_LINES} more lines"]
    return "\n".join(lines)


def relock(uv: Path, root: Path = REPOSITORY) -> dict[str, str]:
    """What `make lock` writes now. Raises CalledProcessError when it can't, e.g. without an index in reach."""
    with tempfile.TemporaryDirectory(prefix="inferd-lock-") as folder:
        copy = Path(folder)
        shutil.copytree(root / FOLDER, copy / FOLDER)
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(root / name, copy)
        command = ["make", "--silent", "lock", f"UV={uv}", f"VIRTUAL_ENV={sys.prefix}"]
        subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True)
        return read_locks(copy)


def main(arguments: list[str]) -> int:
    """0: no drift. 1: there is. 2: nobody knows."""
    found = shutil.which(arguments[0]) if len(arguments) == 1 else None
    if found is None:
        print("usage: python -m tests.lock_drift UV (the path of uv)", file=sys.stderr)  # noqa: T201
        return 2
    present = read_locks(REPOSITORY)
    problems = list(place_problems(present))
    try:
        difference = drift(present, relock(Path(found).resolve()))
    except subprocess.CalledProcessError as error:
        print(f"`make lock` failed:\n{error.stderr}", file=sys.stderr)  # noqa: T201
        return 2
    if difference:
        problems.append(f"{FOLDER}/ is not what pyproject.toml asks for; run `make lock`.\n{difference}")
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
