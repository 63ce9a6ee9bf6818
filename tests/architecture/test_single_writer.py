"""Jobs are written by one file and its statements, deliveries by two, and no transaction spans a call to the outside."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.architecture.repository import Module, files, modules, read

_WHERE = ("api/", "cli/", "core/", "worker/")
_JOB_TABLES = ("attempts", "deleted_jobs", "idempotency", "jobs", "results")
_WRITES = re.compile(r"(?i)\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+(?:ONLY\s+)?(\w+)")
_JOB_ROWS = re.compile(
    r"\b(?:insert|update|delete|add|merge)\(\s*(?:JobRow|AttemptRow|ResultRow|IdempotencyRow|DeletedJobRow)\b"
)

# Where a transaction begins: a commit anywhere else is a second way to change something.
_TRANSACTIONS = {
    "core/access/authenticate.py",  # looks a key up before its tenant is known
    "core/db/migrate.py",
    "core/db/session.py",
}
# Whose functions are statements too.
_STATEMENT_MODULES = {
    "core.db.idempotency",
    "core.jobs.change",
    "core.jobs.queries",
    "core.jobs.store",
    "core.webhooks.deliveries.store",
    "core.webhooks.endpoints.queries",
}
_OPENERS = {"hot_transaction", "reading", "transaction"}
# What may be waited for while a transaction is open: statements.
_STATEMENTS = re.compile(
    r"(?:connection|session|store|queries)\.\w+"
    r"|(?:[A-Z_]+|statement)\.(?:fetch|fetchrow|execute|run)\("
    r"|\(await session\.\w+"
)


def _writers(tables: tuple[str, ...]) -> set[str]:
    """The files of the product that write one of `tables`; what migrations do is theirs alone."""
    return {
        path
        for path in files()
        if path.endswith((".py", ".sql")) and path.startswith(_WHERE)
        for match in _WRITES.finditer(read(path))
        if match[1].lower() in tables
    }


def _folders(paths: set[str]) -> set[str]:
    return {PurePosixPath(path).parent.as_posix() for path in paths}


def test_only_the_job_store_writes_jobs() -> None:
    writers = _writers(_JOB_TABLES)
    assert {f"core/jobs/sql/{name}.sql" for name in ("apply", "claim", "delete", "insert", "succeed")} <= writers
    assert _folders(writers) == {"core/jobs/sql"}
    # Keys of what is no job stand in the same table.
    assert [module.path for module in modules() if _JOB_ROWS.search(module.text)] == ["core/db/idempotency.py"]


def test_a_write_of_a_job_is_guarded() -> None:
    guards = {"apply": "FOR UPDATE OF job", "succeed": "FOR UPDATE OF job", "claim": "FOR UPDATE SKIP LOCKED"}
    for name, guard in guards.items():
        assert guard in read(f"core/jobs/sql/{name}.sql")
        assert re.search(r"\bstate\b", read(f"core/jobs/sql/{name}.sql"))


def test_deliveries_are_made_with_the_change_of_a_job_and_written_by_their_sender() -> None:
    writers = _writers(("deliveries",))
    assert {f"core/webhooks/sql/{name}.sql" for name in ("publish", "claim", "record")} <= writers
    for name in ("insert", "claim", "apply"):
        assert "-- include: core/webhooks/sql/publish.sql\n" in read(f"core/jobs/sql/{name}.sql")
    # They are deleted with their job, or with the memory of it: no foreign key does that.
    deleters = {"core/jobs/sql/delete.sql", "core/jobs/sql/prune_jobs.sql", "core/jobs/sql/prune_deleted.sql"}
    assert _folders(writers - deleters) == {"core/webhooks/sql"}


def test_transactions_begin_in_one_place() -> None:
    begins = re.compile(r"\.(?:begin|begin_nested|commit|transaction)\(")
    assert {module.path for module in modules() if begins.search(module.text)} == _TRANSACTIONS


def test_no_transaction_is_open_while_something_else_is_waited_for() -> None:
    waits = [
        f"{module.path}:{wait.lineno} waits for {ast.unparse(wait.value)}"
        for module in modules("core", "api", "worker", "cli", "local")
        for body in _transaction_bodies(module)
        for wait in ast.walk(ast.Module(body, []))
        if isinstance(wait, ast.Await) and not _is_statement(module, ast.unparse(wait.value))
    ]
    assert not waits


def test_there_are_transactions_to_look_at() -> None:
    assert len([body for module in modules("core", "api") for body in _transaction_bodies(module)]) > 10


def _is_statement(module: Module, waited_for: str) -> bool:
    imported = {
        name.asname or name.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module in _STATEMENT_MODULES
        for name in node.names
    }
    return bool(_STATEMENTS.match(waited_for)) or waited_for.partition("(")[0] in imported


def _transaction_bodies(module: Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncWith):
            calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
            if any(isinstance(call.func, ast.Name) and call.func.id in _OPENERS for call in calls):
                yield node.body


def test_nothing_that_is_set_on_a_connection_outlives_its_transaction() -> None:
    """The pool hands a connection on as it is (core/db/engine.py)."""
    texts = [
        read(path)
        for path in files()
        if path.startswith(("api/", "core/", "worker/")) and path.endswith((".py", ".sql"))
    ]
    local = [match[1] for text in texts for match in re.finditer(r"set_config\((.+?)\)", text)]
    assert local
    assert all(arguments.endswith(", true") for arguments in local)
    assert not [
        match[0]
        for text in texts
        for match in re.finditer(r'["\'](?:SET (?!LOCAL|TRANSACTION)|LISTEN|PREPARE)\b.*', text)
    ]
