"""`inferd api`, `inferd worker`, `inferd migrate`: the production roles, on the stores that the environment names."""

import asyncio
import os
import sys
from typing import Final

from cli.configuration import operator_settings, production_settings
from cli.operate.operators import database_faults
from cli.terminal import results
from core.db import migrate

API: Final = "api.main"
WORKER: Final = "worker.main"


def become(module: str) -> None:
    """Replaces this process with that of `module`, so that signals reach it directly. Raises SettingsError."""
    # The process reads the settings again; reading them first gives a message without a traceback.
    production_settings()
    command = python_module(module)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def migrate_database() -> None:
    """Brings the schema to the newest version. Raises SettingsError or CommandFailed."""
    settings = operator_settings().database
    newest = migrate.newest_revision()

    async def run() -> str | None:
        owner_url = (settings.owner_url or settings.url).get_secret_value()
        before = await migrate.current_revision(owner_url)
        await migrate.upgrade(settings)
        return before

    with database_faults():
        before = asyncio.run(run())
    was = "it was empty" if before is None else f"it was {before}"
    results().print(f"The schema is {newest}" + (", already up to date." if before == newest else f"; {was}."))


def python_module(module: str) -> list[str]:
    """Returns the command line that runs a module of inferd."""
    # -P: do not import a folder named `api` or `core` from the working directory.
    return [sys.executable, "-P", "-m", module]
