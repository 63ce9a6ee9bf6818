"""The application of `inferd …`: which commands there are.

Their signatures are in cli/commands, which import what does the work only when it is asked for, so that
`inferd --help` starts quickly. Run by cli/main.py; docs/reference/cli.md is made from it.
"""

from typing import Annotated, Final

import typer

from cli import webhooks
from cli.commands import jobs, operations, project, roles, servers, tenancy

_EPILOG: Final = (
    "Exit codes: 0 well · 1 a job or a check failed, or a server died · 2 wrong usage or settings · 3 not found, or a "
    "role that could not start · 4 no or a wrong API key · 5 the API or a store can't be reached · 124 timed out · "
    "130 interrupted."
)

app = typer.Typer(
    name="inferd",
    help="A self-hosted inference backend: submit a slow model call, get an id, be called back when it finishes.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (servers, jobs, webhooks, roles, operations, tenancy, project):
    commands.register(app)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=project.print_version, help="Show the version.")
    ] = False,
) -> None:
    """What stands before the command."""
