"""The two consoles: results on stdout, progress and complaints on stderr. Colours only on a terminal, and not with
NO_COLOR.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

# A file or a pipe has no width of its own; 80 columns would cut ids and answers.
_PLAIN_WIDTH = 160
_WHOLE = {"id", "key"}


def results() -> Console:
    """Where results go."""
    return _console(stderr=False)


def progress() -> Console:
    """Where everything else goes."""
    return _console(stderr=True)


def command_name() -> str:
    """What to type for another `inferd …`: its path, such as .venv/bin/inferd, where a shell would not find it."""
    given = Path(sys.argv[0])
    found = shutil.which("inferd")
    if given.name != "inferd" or len(given.parts) == 1 or (found and given.exists() and given.samefile(found)):
        return "inferd"
    path = os.path.relpath(given)
    return shlex.quote(str(given.absolute()) if path.startswith(os.pardir) else path)


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """The rows on stdout, each value under its column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # What somebody will copy stays whole in the narrowest window.
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column in _WHOLE)
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    results().print(table)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH
    # No markup: what a model answered is shown as it is, [brackets] and all.
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
