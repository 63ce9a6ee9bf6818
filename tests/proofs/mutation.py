"""Takes one guard out of the product, in memory: the line that a comment marks is changed, and restored afterwards.

A statement (`.sql`) and a Lua file are handed out changed, and a Python function gets the code that the
changed file compiles to, wherever it was imported. No file is written. What is open keeps what it has: open the
runtimes inside.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from types import CodeType, FunctionType
from typing import Any, Final, TypeAlias

from core.db import statements
from core.queue import lua_text

Change: TypeAlias = Callable[[str], str]
"""What becomes of the guarded line, which comes without its indentation."""

_ROOT: Final = Path(__file__).parents[2]
_MARK: Final = re.compile(r"\s*(?:--|#) guard: ([a-z-]+)")


def removed(_: str) -> str:
    return ""


def instead(text: str) -> Change:
    return lambda _: text


def swapped(old: str, new: str) -> Change:
    """A piece of the line, which must be there once."""

    def swap(line: str) -> str:
        assert line.count(old) == 1, f"the marked line has {line.count(old)} of {old!r}: {line}"
        return line.replace(old, new)

    return swap


def cut(piece: str) -> Change:
    return swapped(piece, "")


@cache
def marks() -> list[tuple[str, str]]:
    """Every mark in the product: the guard's name and the file."""
    files = [
        file for suffix in ("lua", "py", "sql") for room in ("api", "core", "worker") for file in _files(room, suffix)
    ]
    return [
        (found[1], file.relative_to(_ROOT).as_posix())
        for file in files
        for line in file.read_text(encoding="utf-8").splitlines()
        if (found := _MARK.fullmatch(line))
    ]


@contextmanager
def without(name: str, change: Change) -> Iterator[None]:
    """Inside, the product behaves as if the line that is marked with the name were changed."""
    path = dict(marks())[name]
    text = changed_text(path, name, change)
    with ExitStack() as stack:
        match PurePosixPath(path).suffix:
            case ".sql":
                _hand_out_sql(stack, path, text)
            case ".lua":
                _hand_out_lua(stack, PurePosixPath(path).stem, text)
            case _:
                _swap_code(stack, path, text)
        yield


def changed_text(path: str, name: str, change: Change) -> str:
    """The file with the first line that is no mark, after the mark of that name, changed."""
    lines = (_ROOT / path).read_text(encoding="utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if (found := _MARK.fullmatch(line)) and found[1] == name)
    while _MARK.fullmatch(lines[at]):
        at += 1
    guarded = lines[at].lstrip()
    lines[at] = lines[at].removesuffix(guarded) + change(guarded)
    return "\n".join(lines) + "\n"


def _files(room: str, suffix: str) -> Iterator[Path]:
    return (_ROOT / room).rglob(f"*.{suffix}")


def _hand_out_sql(stack: ExitStack, changed: str, text: str) -> None:
    """Statements are made anew of the changed file, wherever it is included."""
    original = statements.read_file
    stack.callback(statements.compiled.cache_clear)
    _set(stack, statements, "read_file", lambda path: text if path == changed else original(path))
    statements.compiled.cache_clear()


def _hand_out_lua(stack: ExitStack, changed: str, text: str) -> None:
    original = lua_text.lua_file
    _set(stack, lua_text, "lua_file", lambda name: text if name == changed else original(name))


def _swap_code(stack: ExitStack, path: str, text: str) -> None:
    """Every function of the module whose code has changed gets the new code."""
    module = sys.modules[_module_name(path)]
    fresh = _executed(path, text)
    for name in _functions(ast.parse(text)):
        live, new = _code_of(vars(module), name), _code_of(fresh, name)
        if live is not None and new is not None and _differs(live.__code__, new.__code__):
            _set(stack, live, "__code__", new.__code__)


def _functions(tree: ast.Module) -> Iterator[str]:
    """Names of functions and, as `Class.method`, of methods."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}"


def _code_of(names: dict[str, Any], name: str) -> FunctionType | None:
    owner, _, method = name.rpartition(".")
    found: Any = vars(names[owner])[method] if owner else names[name]
    function = inspect.unwrap(getattr(found, "fget", found))
    return function if isinstance(function, FunctionType) else None


def _differs(one: CodeType, other: CodeType) -> bool:
    """Whether more than the line numbers."""
    inner = [[each for each in code.co_consts if isinstance(each, CodeType)] for code in (one, other)]
    plain = [[each for each in code.co_consts if not isinstance(each, CodeType)] for code in (one, other)]
    return (
        (one.co_code, one.co_names, plain[0]) != (other.co_code, other.co_names, plain[1])
        or len(inner[0]) != len(inner[1])
        or any(_differs(*pair) for pair in zip(*inner, strict=True))
    )


def _executed(path: str, text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": _module_name(path), "__file__": path}
    exec(compile(text, path, "exec"), namespace)  # noqa: S102 - the product's own text
    return namespace


def _module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _set(stack: ExitStack, target: object, name: str, value: object) -> None:
    stack.callback(setattr, target, name, getattr(target, name))
    setattr(target, name, value)
