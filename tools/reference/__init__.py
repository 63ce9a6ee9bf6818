"""Generates the pages of docs/reference, .env.example and openapi.json from the code that they describe.

`run` is `make docs`: it writes them, or with `check` names those that are stale. Each file here generates one page.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Final

from tools.reference import command_line, errors, http_api, metrics, settings, state_machine, webhooks
from tools.reference.page import REPOSITORY, Page

_MAKERS: Final[tuple[Callable[[], Iterator[Page]], ...]] = (
    settings.pages,
    errors.pages,
    state_machine.pages,
    metrics.pages,
    webhooks.pages,
    http_api.pages,
    command_line.pages,
)


def all_pages() -> Iterator[Page]:
    """Generates every page."""
    for make in _MAKERS:
        yield from make()


def run(check: bool) -> int:
    """Writes the pages that changed, or with `check` names them on stderr and returns 1 when there are any."""
    if not (REPOSITORY / "docs").is_dir():
        print("`make docs` needs a checkout of the project, with its folder docs/.", file=sys.stderr)
        return 2
    stale = [page for page in all_pages() if not page.is_current()]
    for page in stale:
        if check:
            print(f"{page.path} is stale; run `make docs`.", file=sys.stderr)
        else:
            page.write()
            print(f"wrote {page.path}", file=sys.stderr)
    return 1 if check and stale else 0
