"""A version changes a table that may be in use only by migrations/online.py; tests/stores sees what that leaves open."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import pytest

from tests.architecture.repository import modules

_FIRST: Final = "0003"
# Where each operation of alembic names its table: by position or by name.
_TABLE_AT: Final = {
    "add_column": (0, "table_name"),
    "alter_column": (0, "table_name"),
    "batch_alter_table": (0, "table_name"),
    "bulk_insert": (0, "table"),
    "create_check_constraint": (1, "table_name"),
    "create_exclude_constraint": (1, "table_name"),
    "create_foreign_key": (1, "source_table"),
    "create_index": (1, "table_name"),
    "create_primary_key": (1, "table_name"),
    "create_unique_constraint": (1, "table_name"),
    "drop_column": (0, "table_name"),
    "drop_constraint": (1, "table_name"),
    "drop_index": (1, "table_name"),
    "rename_table": (0, "old_table_name"),
}
_SQL: Final = re.compile(
    r"(?ix) \b(?: UPDATE\s+(?!ON\b)(?=[^,\s]) | DELETE\s+FROM | MERGE | LOCK | TRUNCATE | CLUSTER | VACUUM | REINDEX"
    r" | CREATE\s+(?:UNIQUE\s+)?INDEX | DROP\s+INDEX"
    r" | (?:ADD|ALTER|DROP|RENAME|VALIDATE)\s+(?:COLUMN|CONSTRAINT) | SET\s+(?:NOT\s+NULL|DEFAULT|DATA\s+TYPE) )\b"
)
# The bodies of functions and triggers run later.
_BODY: Final = re.compile(r"(?is)\bAS\s+(\$\w*\$).*?\1")


def faults(text: str) -> Iterator[str]:
    """What a version does to a table that it did not make itself."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    made = {_argument(call, 0, "table_name") for call in calls if _operation(call) == "create_table"} - {None}
    for call in calls:
        operation = _operation(call)
        if operation in _TABLE_AT:
            table = _argument(call, *_TABLE_AT[operation])
            if table not in made:
                yield f"op.{operation} on {table or 'a table that is not named here'}"
        elif operation == "execute" and (found := _SQL.search(_BODY.sub("", _words(call)))):
            yield f"op.execute of {found[0]}"


def _operation(call: ast.Call) -> str:
    function = call.func
    named = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "op"
    return function.attr if named and isinstance(function, ast.Attribute) else ""


def _argument(call: ast.Call, position: int, name: str) -> str | None:
    given = [keyword.value for keyword in call.keywords if keyword.arg == name] or call.args[position : position + 1]
    literal = given[0] if given else None
    return literal.value if isinstance(literal, ast.Constant) and isinstance(literal.value, str) else None


def _words(call: ast.Call) -> str:
    strings = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return " ".join(strings)


def test_versions_leave_tables_in_use_to_online() -> None:
    versions = [module for module in modules("migrations/versions") if PurePosixPath(module.path).name >= _FIRST]

    found = {module.path: list(faults(module.text)) for module in versions}

    assert not {path: what for path, what in found.items() if what}, "see migrations/README.md"


@pytest.mark.parametrize(
    "statement",
    [
        'op.create_index("ix_jobs_x", "jobs", ["x"])',
        'op.create_index("ix_jobs_x", table_name="jobs", columns=["x"])',
        'op.drop_index("ix_jobs_x", table_name="jobs")',
        'op.drop_index("ix_jobs_x")',
        'op.create_check_constraint("ck_jobs_x", "jobs", "x > 0")',
        'op.create_foreign_key("fk_jobs_x", "jobs", "made", ["x"], ["id"])',
        'op.alter_column("jobs", "x", nullable=False)',
        'op.add_column("jobs", sa.Column("x", sa.Text(), sa.Computed("y", persisted=True)))',
        "for table in TABLES: op.add_column(table, column)",
        'op.execute("UPDATE jobs SET x = 1")',
        'op.execute(sa.text(f"ALTER TABLE {table} ALTER COLUMN x SET NOT NULL"))',
        'op.execute("CREATE UNIQUE INDEX x ON jobs (x)")',
    ],
)
def test_a_version_that_would_stop_traffic_is_found(statement: str) -> None:
    assert list(faults(statement))


def test_a_version_may_do_what_it_likes_with_a_table_of_its_own() -> None:
    version = """
op.create_table("made", sa.Column("id", sa.Uuid()))
op.create_index("ix_made_id", "made", ["id"])
op.create_check_constraint("ck_made_id", "made", "id IS NOT NULL")
op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
op.execute(f"CREATE POLICY fleet ON {table} USING (true)")
op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO inferd_app")
op.execute("CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE sql AS $$ UPDATE jobs SET x = 1 $$")
online.create_index("ix_jobs_x", "jobs", ["x"])
"""
    assert list(faults(version)) == []
