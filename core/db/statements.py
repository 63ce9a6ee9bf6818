"""SQL files as statements whose parameters have names.

A file writes `:name` for a parameter, and `FROM :rows AS alias` for many rows: the fields of the dataclass that its
Statement names, which arrive as one array each. `-- include: PATH` on a line of its own stands for that file's text.

    FROM :rows AS run        is sent as        FROM unnest($1::uuid[], $2::int[]) AS run (id, run_no)

So a column has one name from the dataclass to the table. The text of a statement never changes: each connection
prepares it once. Used by the stores of core; a test prepares every statement of the product.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Generic

import asyncpg

from core.db.rows import Row, arrays, columns
from core.db.session import Connection, WriteSession

# Comments and strings stand first, so that nothing within them is taken for a parameter.
_TOKENS: Final = re.compile(r"--[^\n]*|'[^']*'|:rows AS (?P<alias>\w+)|(?<![:\w]):(?P<name>[a-z_]+)")
_INCLUDE: Final = re.compile(r"^-- include: (\S+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement as PostgreSQL takes it: `names` are its parameters in the order of `$1`, `$2`, … after the rows'."""

    text: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement(Generic[Row]):
    """The statement of the file at `path`, from the project's root; `rows` is what its `:rows` are, if it has any."""

    path: str
    rows: Callable[..., Row] | None = None

    @property
    def text(self) -> str:
        return compiled(self.path, self.rows).text

    def arguments(self, rows: Sequence[Row] = (), /, **named: object) -> list[object]:
        """The values of `$1`, `$2`, …. Raises TypeError when `named` are not the file's parameters."""
        names = compiled(self.path, self.rows).names
        if named.keys() != set(names):
            raise TypeError(f"{self.path} takes {', '.join(names) or 'no parameters'}, not {', '.join(named)}")
        given: list[object] = [] if self.rows is None else [*arrays(self.rows, rows)]
        given.extend(named[name] for name in names)
        return given

    async def fetch(self, connection: Connection, rows: Sequence[Row] = (), /, **named: object) -> list[asyncpg.Record]:
        """All records. Raises what the driver raises, as the other two."""
        return await connection.fetch(self.text, *self.arguments(rows, **named))

    async def fetchrow(self, connection: Connection, /, **named: object) -> asyncpg.Record | None:
        """The first record, or None."""
        return await connection.fetchrow(self.text, *self.arguments(**named))

    async def execute(self, connection: Connection, rows: Sequence[Row] = (), /, **named: object) -> None:
        """For a statement that returns nothing."""
        await connection.execute(self.text, *self.arguments(rows, **named))

    async def run(self, session: WriteSession, /, **named: object) -> None:
        """As `execute`, in a session's transaction."""
        connection = await session.connection()
        await connection.exec_driver_sql(self.text, tuple(self.arguments(**named)))


@cache
def compiled(path: str, rows: Callable[..., object] | None) -> Compiled:
    """Raises TypeError when the file has `:rows` and the statement names no dataclass, or the reverse."""
    types = {} if rows is None else columns(rows)
    numbers: dict[str, int] = {}
    used_rows = False

    def numbered(token: re.Match[str]) -> str:
        nonlocal used_rows
        if token["alias"] is not None:
            used_rows = True
            return _unnest(types, token["alias"])
        if token["name"] is not None:
            return f"${numbers.setdefault(token['name'], len(types) + len(numbers) + 1)}"
        return token[0]

    text = _TOKENS.sub(numbered, source(path))
    if used_rows != bool(types):
        raise TypeError(f"{path}: its :rows and its Statement's dataclass go together")
    return Compiled(text, tuple(numbers))


def source(path: str) -> str:
    """The file's text with what it includes."""
    return _INCLUDE.sub(lambda line: source(line[1]), read_file(path))


def read_file(path: str) -> str:
    """`path` is from the project's root; its folder is a package."""
    folder, _, name = path.rpartition("/")
    return files(folder.replace("/", ".")).joinpath(name).read_text(encoding="utf-8")


def _unnest(types: Mapping[str, str], alias: str) -> str:
    given = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types.values(), 1))
    return f"unnest({given}) AS {alias} ({', '.join(types)})"
