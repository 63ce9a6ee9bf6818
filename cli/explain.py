"""Turns what core raises into a message and an exit code. Called by cli/main.py when a command has failed.

Apart from main.py, because naming these errors means importing what raises them.
"""

from cli.exit_codes import CommandFailed, ExitCode
from core.domain.errors import AppError, NotFound
from core.settings import SettingsError


def explain(error: Exception) -> CommandFailed | None:
    """None for a bug, whose traceback should be seen."""
    match error:
        case SettingsError():
            return CommandFailed(str(error), ExitCode.USAGE)
        case NotFound():
            return CommandFailed(error.message, ExitCode.NOT_FOUND)
        case AppError():
            return CommandFailed(error.message)
        case _:
            return None
