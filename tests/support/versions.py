"""Versions of a test's own, after the newest of the project's."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from core.db import migrate

_VERSION = """
import sqlalchemy as sa
from alembic import op

from migrations import online

revision = "{revision}"
down_revision = "{before}"


{upgrade}

{downgrade}
"""


def add_version(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    upgrade: Callable[[], None],
    downgrade: Callable[[], None] = lambda: None,
) -> str:
    """Writes one whose functions have the text of these; it is the newest until the test ends. Returns its revision."""
    before = migrate.newest_revision()
    revision = f"{before}t"
    texts = {"upgrade": _text(upgrade, "upgrade"), "downgrade": _text(downgrade, "downgrade")}
    (folder / f"{revision}.py").write_text(_VERSION.format(revision=revision, before=before, **texts))
    monkeypatch.setattr(migrate, "_VERSIONS", [*migrate._VERSIONS, folder])
    return revision


def _text(function: Callable[[], None], name: str) -> str:
    if function.__name__ == "<lambda>":
        return f"def {name}():\n    pass\n"
    return inspect.getsource(function).replace(f"def {function.__name__}(", f"def {name}(", 1)
