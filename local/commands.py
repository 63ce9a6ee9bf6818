"""`inferd serve`, `inferd demo`, `inferd reset`: everything on one machine."""

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "On one machine"
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The folder in which the servers keep their data. Default: INFERD_DATA_DIR."),
]


def register(app: typer.Typer) -> None:
    for command in (serve, demo, reset):
        app.command(rich_help_panel=_PANEL)(command)


def serve(
    host: Annotated[
        str | None, typer.Option(help="The address that the API listens on. Default: INFERD_API_HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="The port of the API; 0 means any free port. Default: INFERD_API_PORT."),
    ] = None,
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of worker processes.")] = 1,
    model: Annotated[bool, typer.Option(help="Serve the local model.")] = True,
) -> None:
    """Start PostgreSQL, Valkey, a small language model, the API and a worker, and keep them running."""
    from local.serve.command import serve as run

    run(host=host, port=port, data_dir=data_dir, workers=workers, with_model=model)


def demo() -> None:
    """Run everything once in a temporary folder: jobs, retries, a failure and signed webhooks."""
    from local.demo.command import demo as run

    raise typer.Exit(run())


def reset(
    data_dir: DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
) -> None:
    """Delete the data that `inferd serve` keeps."""
    from local.reset import reset_data

    reset_data(data_dir, yes=yes)
