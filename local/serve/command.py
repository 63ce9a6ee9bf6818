"""`inferd serve`: everything on this machine, kept running, with its data in the data directory.

Exits with 0 within three seconds of Ctrl-C or SIGTERM; with 1 when a process dies, naming it and the reason.
"""

import os
from pathlib import Path

from cli.command_name import command_name
from cli.configuration import storeless_settings
from cli.signals import run_until_stopped
from cli.terminal import progress
from core.settings import Settings
from local.embedded.folders import make_root, make_serve_folder
from local.embedded.leftovers import stop_leftovers
from local.embedded.lock import only_command
from local.plan import Plan
from local.processes import check_port, free_port
from local.serve.banner import print_banner
from local.stack import run_stack


def serve(*, host: str | None, port: int | None, data_dir: Path | None, workers: int, with_model: bool) -> None:
    """Runs until it is stopped. Raises SettingsError, EmbeddedError or CommandFailed."""
    settings = storeless_settings(data_dir)
    plan = _plan(settings, host, port, workers=workers, with_model=with_model)
    # Before the port is looked at: an `inferd serve` that runs already, or what a killed one left, is who has it.
    with only_command(make_root(settings.data_dir)):
        stop_leftovers(make_serve_folder(settings.data_dir), [])
    check_port(
        plan.host,
        plan.port,
        f"Stop what listens there, or choose another port: `inferd serve --port {plan.port + 1}`.",
    )
    err = progress()
    run_until_stopped(_run(plan), lambda: err.print("\nStopping…"))
    err.print(f"Stopped. The data is kept in {settings.data_dir}; `{command_name()} reset` deletes it.", soft_wrap=True)


def _plan(settings: Settings, host: str | None, port: int | None, *, workers: int, with_model: bool) -> Plan:
    host = host or settings.api.host
    port = settings.api.port if port is None else port
    return Plan(
        settings=settings,
        environment=dict(os.environ),
        working_folder=Path.cwd(),
        host=host,
        port=port or free_port(host),
        workers=workers,
        with_model=with_model,
    )


async def _run(plan: Plan) -> None:
    err = progress()
    status = err.status("Starting…") if err.is_terminal else None

    def say(step: str) -> None:
        if status is None:
            err.print(f"{step}…")
        else:
            status.update(f"{step}…")

    async with run_stack(plan, say) as stack:
        if status is not None:
            status.stop()
        print_banner(stack)
        await stack.failure()
