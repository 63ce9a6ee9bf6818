"""What crosses between Python and PostgreSQL has one name on both sides."""

import re
from collections.abc import Iterator
from dataclasses import asdict, make_dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, get_type_hints

import pytest

import core
from core.db.engine import Database
from core.db.rows import names
from core.db.session import hot_transaction
from core.db.statements import Statement, read_file, source
from core.jobs import store
from core.jobs.prune import PRUNE_JOBS
from core.jobs.records import NewJob
from tests.support.jobs import new_job
from tests.support.tenants import Tenant

ROOT = Path(__file__).parents[2]


def statements() -> Iterator[Statement[Any]]:
    for module in walk_packages(core.__path__, "core."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, Statement):
                yield value


STATEMENTS = sorted(set(statements()), key=lambda statement: statement.path)


def test_every_sql_file_is_one_statement_or_a_part_of_some() -> None:
    paths = [statement.path for statement in STATEMENTS]
    included = {
        path for statement in paths for path in re.findall(r"^-- include: (\S+)$", read_file(statement), re.MULTILINE)
    }

    assert len(paths) == len(set(paths))
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "core").rglob("*.sql")}
    assert files == {*paths, *included}


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.path)
async def test_a_statement_fits_the_tables_and_its_rows(fleet: Database, statement: Statement[Any]) -> None:
    """PostgreSQL refuses a column that no field has; a field that the statement does not use is found here."""
    async with fleet.pool.acquire() as connection:
        await connection.prepare(statement.text)

    used = re.sub(r"--.*", "", source(statement.path))
    fields = () if statement.rows is None else names(statement.rows)
    assert not [name for name in fields if not re.search(rf"\b{name}\b", used)]


def test_a_parameter_that_the_file_lacks_is_refused() -> None:
    for named in ({}, {"most": 1, "state": "failed"}, {"most": 1, "state": "failed", "second": 1.0}):
        with pytest.raises(TypeError, match="seconds"):
            PRUNE_JOBS.arguments(**named)


async def test_a_field_and_its_column_have_one_name_whatever_their_order(fleet: Database, tenant: Tenant) -> None:
    """The fields in reverse: each value still lands in its column."""
    reverse = make_dataclass("Reverse", [(name, get_type_hints(NewJob)[name]) for name in reversed(names(NewJob))])
    job = new_job(tenant.id, model="echo/reverse", max_attempts=3, request_id="req")

    async with hot_transaction(fleet, None) as connection:
        await Statement(store.INSERT.path, reverse).fetch(connection, [reverse(**asdict(job))], key_seconds=1.0)
        row = await connection.fetchrow("SELECT model, max_attempts, request_id, timeout_seconds FROM jobs")

    assert row is not None
    assert dict(row) == {"model": "echo/reverse", "max_attempts": 3, "request_id": "req", "timeout_seconds": 60.0}
