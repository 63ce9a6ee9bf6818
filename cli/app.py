"""The application of `inferd …` without the commands that need the embedded servers, which local/app.py adds.

The signatures of the commands are in the files named commands.py. They import what does the work only when the
command is called, so that `inferd --help` starts quickly.
"""

import platform
from collections.abc import Callable
from typing import Annotated, Final

import typer

from cli.client import commands as client
from cli.operate import commands as operate
from cli.webhooks import commands as webhooks

_EPILOG: Final = (
    "Exit codes: 0 success · 1 a job or a check failed, or a server died · 2 wrong usage or settings · 3 not found, or "
    "a process that could not start · 4 no API key or a wrong one · 5 the API or a store can't be reached · 124 timed "
    "out · 130 interrupted."
)

Group = Callable[[typer.Typer], None]


def make_app(*first: Group) -> typer.Typer:
    """Returns the application, with the commands of `first` before its own."""
    app = typer.Typer(
        name="inferd",
        help="A self-hosted inference backend: submit slow model calls, get an id at once, read or receive the result.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for register in (*first, client.register, webhooks.register, operate.register):
        register(app)
    app.callback()(_options)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        from core.version import VERSION  # noqa: PLC0415 - reads the package's metadata

        print(f"inferd {VERSION} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    """The options before the command."""
