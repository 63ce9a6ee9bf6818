"""The entry point of `inferd …`: the application, and how a failure is told.

The commands' signatures are in cli/commands, which import what does the work only when it is asked for, so that
`inferd --help` and a container's health check start quickly.
"""

import sys
from typing import Annotated, Final, NoReturn

import typer

from cli.commands import jobs, operations, project, roles, servers, tenancy
from cli.exit_codes import CommandFailed

_EPILOG: Final = (
    "Exit codes: 0 well · 1 a job or a check failed, or a server died · 2 wrong usage or settings · 3 not found · "
    "4 no or a wrong API key · 5 out of reach · 124 timed out · 130 interrupted."
)

app = typer.Typer(
    name="inferd",
    help="A self-hosted inference backend: hand over slow model calls, get an id at once, trust the rest.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (servers, jobs, roles, operations, tenancy, project):
    commands.register(app)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=project.print_version, help="Show the version.")
    ] = False,
) -> None:
    """What stands before the command."""


def main() -> None:
    try:
        app()
    except CommandFailed as failure:
        _tell(failure)
    except Exception as error:
        from cli.explain import explain  # noqa: PLC0415 - loads what only a failure needs

        explained = explain(error)
        if explained is None:
            raise
        _tell(explained)


def _tell(failure: CommandFailed) -> NoReturn:
    print(f"inferd: {failure.message}", file=sys.stderr)
    sys.exit(failure.exit_code)
