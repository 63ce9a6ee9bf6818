"""Files and functions stay small enough to read at once, say what they are for, and have a name that says it too."""

import ast
from pathlib import PurePosixPath

from tests.architecture.repository import PACKAGES, files, modules

_FILE_LINES = 300
_TEST_FILE_LINES = 450
_FUNCTION_LINES = 60
_PACKAGE_WORDS = range(6, 90)
# A version is written once and read as history.
_HISTORY = "migrations/versions/"
_VAGUE = {
    "base",
    "common",
    "helper",
    "helpers",
    "lib",
    "manager",
    "managers",
    "misc",
    "service",
    "services",
    "util",
    "utils",
}


def test_a_module_says_what_it_is_for() -> None:
    assert not [module.path for module in modules() if not module.docstring]


def test_every_folder_of_modules_is_a_package_that_says_what_lives_in_it() -> None:
    folders = {PurePosixPath(module.path).parent.as_posix() for module in modules()} - {"migrations/versions"}
    packages = {
        PurePosixPath(module.path).parent.as_posix(): len(module.docstring.split())
        for module in modules()
        if module.path.endswith("__init__.py")
    }
    assert folders == set(packages)
    assert not {name: words for name, words in packages.items() if words not in _PACKAGE_WORDS}


def test_a_file_is_short() -> None:
    lengths = {module.path: len(module.text.splitlines()) for module in modules(*PACKAGES, "tests")}
    limits = {path: _TEST_FILE_LINES if path.startswith("tests/") else _FILE_LINES for path in lengths}
    long = {path: lines for path, lines in lengths.items() if lines > limits[path]}
    assert {path for path in long if not path.startswith(_HISTORY)} == set(), long


def test_a_function_fits_on_a_screen() -> None:
    long = {
        f"{module.path}: {node.name}": lines
        for module in modules()
        if not module.path.startswith(_HISTORY)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > _FUNCTION_LINES
    }
    assert not long


def test_no_name_says_nothing() -> None:
    parts = {path: set(PurePosixPath(path).with_suffix("").parts) for path in files() if path.endswith((".py", ".sql"))}
    assert not {path for path, names in parts.items() if names & _VAGUE}
