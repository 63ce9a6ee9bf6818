"""The pages of docs/reference, .env.example and openapi.json, made from the code that they describe.

`run` is `make docs`: it writes them, or with `check` says which are stale. One file here makes one page.
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
    """Every generated page, as it should be."""
    for make in _MAKERS:
        yield from make()


def run(check: bool) -> int:
    """Writes what has changed, or with `check` names it on stderr. Returns an exit code: 1 when something is stale."""
    if not (REPOSITORY / "docs").is_dir():
        print("`make docs` works in a checkout of the project, where docs/ is.", file=sys.stderr)
        return 2
    stale = [page for page in all_pages() if not page.is_current()]
    for page in stale:
        if check:
            print(f"{page.path} is stale; run `make docs`.", file=sys.stderr)
        else:
            page.write()
            print(f"wrote {page.path}", file=sys.stderr)
    return 1 if check and stale else 0
