"""Runs a command of `inferd …`: every failure is reported in one way, and health checks take a short path.

Called by local/main.py, which says how to load the application.
"""

import sys
from collections.abc import Callable
from typing import NoReturn, Protocol

from cli.exit_codes import CommandFailed

_LIVE = ["doctor", "--live"]


class Application(Protocol):
    """A Typer application."""

    def __call__(self, *, prog_name: str) -> object: ...


def main(load_app: Callable[[], Application]) -> None:
    """Ends the process with an exit code of cli/exit_codes.py."""
    try:
        _run(sys.argv[1:], load_app)
    except CommandFailed as failure:
        _report(failure)
    except Exception as error:
        from cli.explain import explain  # noqa: PLC0415 - loads what only a failure needs

        explained = explain(error)
        if explained is None:
            raise
        _report(explained)


def _run(arguments: list[str], load_app: Callable[[], Application]) -> None:
    if arguments[:2] == _LIVE and len(arguments) <= len(_LIVE) + 1:
        from cli.operate.liveness import check_live  # noqa: PLC0415 - every ten seconds in every container: without Typer

        check_live("".join(arguments[2:]) or "api")
        return
    from cli.command_name import command_name  # noqa: PLC0415 - a health check does without it

    load_app()(prog_name=command_name())


def _report(failure: CommandFailed) -> NoReturn:
    from cli.command_name import as_typed  # noqa: PLC0415 - as above

    print(f"inferd: {as_typed(failure.message)}", file=sys.stderr)
    sys.exit(failure.exit_code)
