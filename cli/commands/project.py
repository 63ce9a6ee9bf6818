"""`inferd version` and `inferd docs`."""

import platform
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="About inferd")(version)
    app.command(rich_help_panel="About inferd")(docs)


def version() -> None:
    """Show the version."""
    print_version(asked=True)


def print_version(asked: bool) -> None:
    """What `--version` calls, whether or not it was given."""
    if asked:
        from core.version import VERSION

        print(f"inferd {VERSION} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
        raise typer.Exit


def docs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a page is stale.")] = False,
) -> None:
    """Write the generated reference pages and .env.example."""
    from cli.reference import run

    raise typer.Exit(run(check))
