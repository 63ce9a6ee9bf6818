"""docs/operations/failure-windows.md says what is promised: each window once, with proofs that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from core.settings import WebhookSettings, WorkerSettings

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs/operations/failure-windows.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| (F\d+) \| (.+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
_PROOF = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
WINDOWS = _ROW.findall(_PAGE)


@cache
def _tests(path: str) -> set[str]:
    tree = ast.parse((_ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_window_is_there_once_and_in_order() -> None:
    assert [window[0] for window in WINDOWS] == [f"F{number}" for number in range(1, 75)]


@pytest.mark.parametrize("window", WINDOWS, ids=[window[0] for window in WINDOWS])
def test_each_window_has_a_proof(window: tuple[str, ...]) -> None:
    proofs = _PROOF.findall(window[-1])
    assert proofs
    assert re.sub(r"`[^`]*`|<br>", "", window[-1]) == ""
    assert [(path, name) for path, name in proofs if name not in _tests(path)] == []


def test_the_other_files_that_are_named_exist() -> None:
    named = {path for path, _ in _PROOF.findall(_PAGE)}
    assert {"tests/proofs/test_state_machine.py", "tests/proofs/guards.py"} < named
    assert [path for path in named if not (_ROOT / path).is_file()] == []


@pytest.mark.parametrize("name", ["lease_seconds", "heartbeat_seconds", "sweep_seconds", "drain_seconds"])
def test_the_times_are_the_defaults(name: str) -> None:
    assert f"| `INFERD_WORKER_{name.upper()}` | {getattr(WorkerSettings(), name):g} s |" in _PAGE


def test_the_sums_are_right() -> None:
    worker, webhook = WorkerSettings(), WebhookSettings()
    sweep = worker.sweep_seconds * 1.2
    assert f"at most {sweep:g} s with one worker" in _PAGE
    assert f"at most {worker.lease_seconds + sweep:g} s." in _PAGE
    assert f"| `INFERD_WEBHOOK_TIMEOUT_SECONDS` | {webhook.timeout_seconds:g} s |" in _PAGE


def test_a_window_that_has_a_test_of_its_own_names_it() -> None:
    """tests/proofs/test_windows.py holds no window that the page does not know of."""
    own = {name for name in _tests("tests/proofs/test_windows.py") if name.startswith("test_f")}
    named = {(window[0], name) for window in WINDOWS for _, name in _PROOF.findall(window[-1])}
    assert {(f"F{int(name[6:8])}", name) for name in own} <= named
