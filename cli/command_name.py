"""How `inferd` must be typed in this terminal. Imports little: a failed health check needs it too."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def command_name() -> str:
    """Returns what to type for another `inferd …`: a path such as .venv/bin/inferd where PATH has no inferd."""
    given = Path(sys.argv[0])
    found = shutil.which("inferd")
    if given.name != "inferd" or len(given.parts) == 1 or (found and given.exists() and given.samefile(found)):
        return "inferd"
    path = os.path.relpath(given)
    return shlex.quote(str(given.absolute()) if path.startswith(os.pardir) else path)


def next_page(words: Sequence[str], cursor: str, api_url: str | None) -> str:
    """Returns the command that lists the next page."""
    return to_paste([*words, "--after", cursor], api_url)


def to_paste(words: Sequence[str], api_url: str | None) -> str:
    """Returns a command that asks the same API, to be pasted into a shell."""
    url = [] if api_url is None else ["--api-url", api_url]
    return " ".join([command_name(), *map(shlex.quote, [*words, *url])])


def as_typed(text: str) -> str:
    """Returns `text` with the commands in it, written as `inferd …`, as they must be typed in this terminal."""
    return text.replace("`inferd ", f"`{command_name()} ")
