"""`inferd doctor`: is everything well?"""

from enum import StrEnum
from typing import Annotated

import typer

from cli.commands.options import Output, OutputOption


class Role(StrEnum):
    API = "api"
    WORKER = "worker"


# Read by Typer itself: loading all settings would take longer than the check.
_Host = Annotated[str, typer.Option(envvar="INFERD_API_HOST", hidden=True)]
_Port = Annotated[int, typer.Option(envvar="INFERD_API_PORT", hidden=True)]
_MetricsPort = Annotated[int | None, typer.Option(envvar="INFERD_WORKER_METRICS_PORT", hidden=True)]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In production")(doctor)


def doctor(
    role: Annotated[Role, typer.Argument(help="With --live: whose process to ask.")] = Role.API,
    live: Annotated[bool, typer.Option("--live", help="Only ask this machine's process whether it lives.")] = False,
    output: OutputOption = Output.TEXT,
    api_host: _Host = "127.0.0.1",
    api_port: _Port = 8700,
    metrics_port: _MetricsPort = None,
) -> None:
    """Check settings, PostgreSQL, Redis, migrations and providers, and say what to mend."""
    if live:
        from cli.liveness import check_live

        check_live(role.value, api_host, api_port, metrics_port)
        return
    from cli.doctor import doctor as examine

    raise typer.Exit(examine(as_json=output is Output.JSON))
