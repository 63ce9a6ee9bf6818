"""Runs a command of `inferd …`: one way for every failure to be told, and a short way for health checks.

Called by local/main.py, which says how to load the application.
"""

import sys
from collections.abc import Callable
from typing import NoReturn

from cli.exit_codes import CommandFailed

_LIVE = ["doctor", "--live"]


def main(load_app: Callable[[], Callable[[], object]]) -> None:
    """Ends the process with an exit code of cli/exit_codes.py."""
    try:
        _run(sys.argv[1:], load_app)
    except CommandFailed as failure:
        _tell(failure)
    except Exception as error:
        from cli.explain import explain  # noqa: PLC0415 - loads what only a failure needs

        explained = explain(error)
        if explained is None:
            raise
        _tell(explained)


def _run(arguments: list[str], load_app: Callable[[], Callable[[], object]]) -> None:
    if arguments[:2] == _LIVE and len(arguments) <= len(_LIVE) + 1:
        from cli.operate.liveness import check_live  # noqa: PLC0415 - every ten seconds in every container: without Typer

        check_live("".join(arguments[2:]) or "api")
        return
    load_app()()


def _tell(failure: CommandFailed) -> NoReturn:
    print(f"inferd: {failure.message}", file=sys.stderr)
    sys.exit(failure.exit_code)
