"""The two consoles: results on stdout, progress and errors on stderr.

Colours appear only on a terminal, and not with NO_COLOR.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

# A file or a pipe has no width of its own; 80 columns would cut ids and output.
_PLAIN_WIDTH = 160
_WHOLE = {"id", "key"}


def results() -> Console:
    """Returns the console of stdout."""
    return _console(stderr=False)


def progress() -> Console:
    """Returns the console of stderr."""
    return _console(stderr=True)


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Prints the rows on stdout, each value under its column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Ids and keys are copied, so they are never wrapped.
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column in _WHOLE)
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    results().print(table)


def print_json(document: Mapping[str, Any]) -> None:
    """Prints the whole document on stdout, at once."""
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    sys.stdout.flush()


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH
    # No markup: a model's output is shown as it is, [brackets] included.
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
