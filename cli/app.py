"""The application of `inferd …` but for what needs the embedded servers, which local/app.py adds.

The signatures of the commands are in files named `…commands.py`, which import what does the work only when it is
asked for, so that `inferd --help` starts quickly.
"""

from collections.abc import Callable
from typing import Annotated, Final

import typer

from cli import project
from cli.client import commands as client
from cli.operate import doctor_commands, role_commands, tenancy_commands
from cli.webhooks import commands as webhooks

_EPILOG: Final = (
    "Exit codes: 0 well · 1 a job or a check failed, or a server died · 2 wrong usage or settings · 3 not found, or a "
    "role that could not start · 4 no or a wrong API key · 5 the API or a store can't be reached · 124 timed out · "
    "130 interrupted."
)

Group = Callable[[typer.Typer], None]


def make_app(*first: Group) -> typer.Typer:
    """The application, with the commands of `first` before its own."""
    app = typer.Typer(
        name="inferd",
        help="A self-hosted inference backend: submit a slow model call, get an id, be called back when it finishes.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    own = (client, webhooks, role_commands, doctor_commands, tenancy_commands, project)
    for register in (*first, *(commands.register for commands in own)):
        register(app)
    app.callback()(_options)
    return app


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=project.print_version, help="Show the version.")
    ] = False,
) -> None:
    """What stands before the command."""
