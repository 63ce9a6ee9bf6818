"""`inferd api`, `inferd worker`, `inferd migrate`: the roles of a production system, set up by INFERD_ variables."""

import typer

_PANEL = "In production"


def register(app: typer.Typer) -> None:
    for command in (api, worker, migrate):
        app.command(rich_help_panel=_PANEL)(command)


def api() -> None:
    """Run the API server."""
    from cli.operate.roles import API, become

    become(API)


def worker() -> None:
    """Run a worker."""
    from cli.operate.roles import WORKER, become

    become(WORKER)


def migrate() -> None:
    """Bring the database to the newest schema, as its owner."""
    from cli.operate.roles import migrate_database

    migrate_database()
