"""`inferd version`."""

import platform

import typer


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="About inferd")(version)


def version() -> None:
    """Show the version."""
    print_version(asked=True)


def print_version(asked: bool) -> None:
    """What `--version` calls, whether or not it was given."""
    if asked:
        from core.version import VERSION

        print(f"inferd {VERSION} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
        raise typer.Exit
