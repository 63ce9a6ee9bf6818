"""Turns the errors of core into a message and an exit code. Called by cli/main.py when a command has failed.

A file of its own, because it imports the modules that define these errors.
"""

from cli.exit_codes import CommandFailed, ExitCode
from core.domain.errors import AppError, NotFound
from core.settings import SettingsError


def explain(error: Exception) -> CommandFailed | None:
    """Returns None for a bug, whose traceback should be seen."""
    match error:
        case SettingsError():
            return CommandFailed(str(error), ExitCode.USAGE)
        case NotFound():
            return CommandFailed(error.message, ExitCode.NOT_FOUND)
        case AppError():
            return CommandFailed(error.message)
        case _:
            return None
