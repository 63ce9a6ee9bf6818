"""Takes one guard out of the product, in memory: a piece of a product file's text is replaced, and undone afterwards.

A statement (`.sql`) and a Lua file are handed out changed, and a Python function gets the code that the
changed file compiles to, wherever it was imported. No file is written. What is open keeps what it has: open the
runtimes inside.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from types import CodeType, FunctionType
from typing import Any, Final

from core.db import statements
from core.queue import lua_text

_ROOT: Final = Path(__file__).parents[2]


def changed_text(path: str, old: str, new: str) -> str:
    """The file with the piece replaced. Fails when the piece is not there exactly once: then a guard has moved."""
    text = (_ROOT / path).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has {text.count(old)} of: {old}"
    return text.replace(old, new)


@contextmanager
def mutated(path: str, old: str, new: str) -> Iterator[None]:
    """Inside, the product behaves as if the file said `new`."""
    text = changed_text(path, old, new)
    with ExitStack() as stack:
        if path.endswith(".sql"):
            _hand_out(stack, path, text)
        elif path.endswith(".lua"):
            original, changed = lua_text.lua_file, PurePosixPath(path).stem
            _set(stack, lua_text, "lua_file", lambda name: text if name == changed else original(name))
        else:
            _swap_code(stack, path, text)
        yield


def _hand_out(stack: ExitStack, changed: str, text: str) -> None:
    """Statements are made anew of the changed file, wherever it is included."""
    original = statements.read_file

    def read_file(path: str) -> str:
        return text if path == changed else original(path)

    stack.callback(statements.compiled.cache_clear)
    _set(stack, statements, "read_file", read_file)
    statements.compiled.cache_clear()


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
