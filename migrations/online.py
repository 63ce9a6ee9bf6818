"""Changes tables that are in use: no step blocks traffic for a second, however many rows there are.

Versions call these functions; see migrations/README.md. Each function commits what its version did so far, then makes
one change in transactions of its own. A version that stops half-way is run again from its start, and every function
skips what exists already.

There are two kinds of statement. A brief one takes a lock that blocks traffic; PostgreSQL cancels it when it does not
get the lock at once or does not finish at once (core/db/migrate.py then tries the version again). A patient one reads
the whole table or waits for old transactions under a lock that does not block traffic, and may take hours.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection, text

# Includes the wait for the lock: less than the second for which traffic may be blocked.
_BRIEF: Final = {"statement_timeout": "800ms"}
# CONCURRENTLY waits for other transactions by their locks. Nothing waits behind it, so it may take long; a transaction
# that is open for an hour was forgotten.
_PATIENT: Final = {"lock_timeout": "1h"}
_BATCH_SECONDS: Final = 0.1
_BATCH_PAGES: Final = 8
_LARGEST_BATCH: Final = 4096
_PASSES: Final = 20

_COLUMN: Final = """
SELECT attnotnull FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = :name AND NOT attisdropped
"""
_CONSTRAINT: Final = "SELECT convalidated FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
_INDEX: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"
_PAGES: Final = "SELECT pg_relation_size(to_regclass(:table)) / current_setting('block_size')::int"


class BackfillUnfinished(Exception):
    """Rows are left after many passes: other sessions keep them locked, or keep writing such rows."""


def has_table(table: str) -> bool:
    """Whether the table exists: a version creates its tables only if an earlier run of it did not."""
    return op.get_bind().scalar(text("SELECT to_regclass(:table)"), {"table": table}) is not None


def add_column(table: str, column: "sa.Column[object]") -> None:
    """Adds a column. Its default must be a constant, or PostgreSQL would rewrite the whole table."""
    if column.computed is not None or column.identity is not None:
        raise ValueError(f"{table}.{column.name}: a stored column rewrites the table; add a plain one and fill it")
    if column.foreign_keys or column.index or column.unique:
        raise ValueError(f"{table}.{column.name}: add its foreign key or index with the function for it")
    with _alone(_BRIEF) as connection:
        if connection.scalar(text(_COLUMN), {"table": table, "name": column.name}) is None:
            op.add_column(table, column)


def drop_column(table: str, name: str) -> None:
    """Drops a column that no running release reads."""
    _briefly(f"ALTER TABLE {table} DROP COLUMN IF EXISTS {name}", if_there=_COLUMN, table=table, name=name)


def set_not_null(table: str, column: str) -> None:
    """Sets NOT NULL on a column without NULLs. The rows are read under a lock that does not block traffic."""
    check = f"nn_{table}_{column}"
    if _look(_COLUMN, table=table, name=column) is False:
        add_check(table, check, f"{column} IS NOT NULL")
        # The check proves it, so PostgreSQL reads no row.
        _briefly(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL")
    drop_constraint(table, check)


def drop_not_null(table: str, column: str) -> None:
    """Allows NULL in a column."""
    if _look(_COLUMN, table=table, name=column):
        _briefly(f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL")


def set_default(table: str, column: str, value: str) -> None:
    """Sets the default for new rows; existing rows do not change."""
    _briefly(f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {value}")


def add_check(table: str, name: str, condition: str) -> None:
    """Adds a CHECK: first for new rows, then existing rows are read under a lock that does not block traffic."""
    _add_constraint(table, name, f"CHECK ({condition})")


def add_foreign_key(
    name: str,
    table: str,
    columns: Sequence[str],
    referred: str,
    referred_columns: Sequence[str],
    *,
    ondelete: str | None = None,
) -> None:
    """Adds a foreign key: first for new rows, then existing rows are read under a lock that blocks no traffic."""
    action = f" ON DELETE {ondelete}" if ondelete else ""
    target = f"{referred} ({', '.join(referred_columns)})"
    _add_constraint(table, name, f"FOREIGN KEY ({', '.join(columns)}) REFERENCES {target}{action}")


def drop_constraint(table: str, name: str) -> None:
    """Drops a CHECK or a foreign key."""
    _briefly(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}", if_there=_CONSTRAINT, table=table, name=name)


def create_index(
    name: str,
    table: str,
    columns: Sequence[str],
    *,
    unique: bool = False,
    where: str | None = None,
    using: str = "btree",
) -> None:
    """Creates an index while rows are written. An unfinished one of an earlier run is dropped first."""
    with _alone(_PATIENT) as connection:
        valid = connection.scalar(text(_INDEX), {"name": name})
        if valid:
            return
        if valid is False:
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        kind = "UNIQUE INDEX" if unique else "INDEX"
        condition = f" WHERE {where}" if where else ""
        statement = f"CREATE {kind} CONCURRENTLY {name} ON {table} USING {using} ({', '.join(columns)}){condition}"
        connection.exec_driver_sql(statement)


def drop_index(name: str) -> None:
    """Drops an index without blocking traffic."""
    with _alone(_PATIENT) as connection:
        connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))


def backfill(table: str, assignments: str, where: str) -> None:
    """Updates all rows that match `where`, a short batch at a time, and pauses as long as each batch took.

        backfill("deliveries", "slots_used = attempts", "slots_used IS NULL")

    An updated row must not match `where` any more, so that another run finds the rows that are left. Nor may rows that
    the previous release writes: set a default first. Rows that are locked, or that move while the pages are read, are
    left to the next pass. Raises BackfillUnfinished.
    """
    with _alone({}) as connection:
        for _ in range(_PASSES):
            if not connection.scalar(text(f"SELECT EXISTS (SELECT FROM {table} WHERE {where})")):  # noqa: S608 - a version's own words
                return
            _fill_once(connection, table, assignments, where)
    raise BackfillUnfinished(f"{table}: rows with {where} are left after {_PASSES} passes")


def copy(statement: str, start: object) -> None:
    """Runs `statement` batch by batch, each in a transaction of its own, and pauses as long as each batch took.

    `$1` is where a batch begins, `start` for the first one. The statement returns where the next batch begins, or no
    row at the end. Its writes must be idempotent: another run begins at `start` again.
    """
    position: object | None = start
    with _alone({}) as connection:
        while position is not None:
            began = time.monotonic()
            position = connection.exec_driver_sql(statement, (position,)).scalar()
            connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": time.monotonic() - began})


def _fill_once(connection: Connection, table: str, assignments: str, where: str) -> None:
    # By pages: a LIMIT would read all rows that are done before it finds those that are not.
    statement = f"""
        WITH taken AS (
            SELECT ctid AS place FROM {table}
            WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid AND ({where})
            FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE {table} AS target SET {assignments} FROM taken WHERE target.ctid = taken.place
    """  # noqa: S608 - a version's own words
    page, size = 0, _BATCH_PAGES
    pages = int(connection.scalar(text(_PAGES), {"table": table}))
    while page < pages:
        began = time.monotonic()
        connection.exec_driver_sql(statement, (page, page + size))
        took = time.monotonic() - began
        page += size
        if took > _BATCH_SECONDS:
            size = max(1, size // 2)
        elif took < _BATCH_SECONDS / 2:
            size = min(_LARGEST_BATCH, size * 2)
        # Sleeps in PostgreSQL, so that other work of this process is not blocked.
        connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": took})


def _add_constraint(table: str, name: str, definition: str) -> None:
    valid = _look(_CONSTRAINT, table=table, name=name)
    if valid is None:
        _briefly(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID")
    if not valid:
        with _alone(_PATIENT) as connection:
            connection.exec_driver_sql(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def _briefly(statement: str, *, if_there: str | None = None, **names: str) -> None:
    with _alone(_BRIEF) as connection:
        if if_there is None or connection.scalar(text(if_there), names) is not None:
            connection.exec_driver_sql(statement)


def _look(query: str, **names: str) -> object:
    return op.get_bind().scalar(text(query), names)


@contextmanager
def _alone(limits: dict[str, str]) -> Iterator[Connection]:
    """Commits what the version did so far; then every statement on the connection is a transaction of its own."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        for name, value in limits.items():
            connection.exec_driver_sql(f"SET {name} = '{value}'")
        yield connection
        # Skipped after a failure: the connection is closed then.
        for name in limits:
            connection.exec_driver_sql(f"RESET {name}")
