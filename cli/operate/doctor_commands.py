"""`inferd doctor`: is everything well?"""

from enum import StrEnum
from typing import Annotated

import typer

from cli.options import Output, OutputOption


class Role(StrEnum):
    API = "api"
    WORKER = "worker"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In production")(doctor)


def doctor(
    role: Annotated[Role, typer.Argument(help="With --live: whose process to ask.")] = Role.API,
    live: Annotated[bool, typer.Option("--live", help="Only ask this machine's process whether it lives.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check settings, PostgreSQL, Redis, migrations and providers, and say what to fix."""
    if live:
        from cli.operate.liveness import check_live

        check_live(role.value)
        return
    from cli.operate.doctor import doctor as examine

    raise typer.Exit(examine(as_json=output is Output.JSON))
