"""What the architecture tests look at: the project's files, its modules, its Makefile and its documents."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "cli", "core", "local", "migrations", "worker")


@dataclass(frozen=True)
class Module:
    """A Python file; `path` is relative to the repository."""

    path: str
    text: str
    tree: ast.Module

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""


@cache
def files() -> tuple[str, ...]:
    """Every file of the project, relative to the repository: all but what .gitignore names. Works without git."""
    ignored = [".git", *(line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split() if line[0] != "#")]

    def walk(folder: Path) -> Iterator[str]:
        for path in sorted(folder.iterdir()):
            if any(fnmatch(path.name, pattern) for pattern in ignored):
                continue
            if path.is_dir():
                yield from walk(path)
            else:
                yield path.relative_to(ROOT).as_posix()

    return tuple(walk(ROOT))


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """The Python files below `folders`, by default those of the packages."""
    starts = tuple(f"{folder}/" for folder in folders or PACKAGES)
    return tuple(
        Module(path, text, ast.parse(text))
        for path in files()
        if path.endswith(".py") and path.startswith(starts)
        for text in (read(path),)
    )


def documents() -> list[str]:
    return [path for path in files() if path.endswith(".md")]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


def make_targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z-]+):", read("Makefile")))


def contracts() -> dict[str, str]:
    """Each import contract's id → its sentence."""
    return {each["id"]: each["name"] for each in pyproject()["tool"]["importlinter"]["contracts"]}


def names_a_test(node: str) -> bool:
    """Whether `tests/file.py`, `tests/file.py::name`, or a folder of tests is there."""
    path, _, name = node.partition("::")
    if not name:
        return any(each == path or each.startswith(f"{path.rstrip('/')}/") for each in files())
    if path not in files():
        return False
    defined = {
        each.name
        for each in ast.walk(ast.parse(read(path)))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return name in defined
