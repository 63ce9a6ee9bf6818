"""Opens the database for one operator's command, and says what to do when it can't be opened."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cli.configuration import operator_settings
from cli.exit_codes import CommandFailed, ExitCode
from core.db.engine import DatabaseUnusable
from core.db.faults import explain_fault
from core.runtime import OperatorRuntime, open_operator

Result = TypeVar("Result")


def operate(work: Callable[[OperatorRuntime], Awaitable[Result]]) -> Result:
    """Returns what `work` returns. Raises SettingsError, CommandFailed, or an AppError of `work`'s."""

    async def run() -> Result:
        async with open_operator(operator_settings()) as operator:
            return await work(operator)

    with database_faults():
        return asyncio.run(run())


@contextmanager
def database_faults() -> Iterator[None]:
    """Turns PostgreSQL's absence or refusal into a CommandFailed."""
    try:
        yield
    except Exception as error:
        message = str(error) if isinstance(error, DatabaseUnusable) else explain_fault(error)
        if message is None:
            raise
        raise CommandFailed(message, ExitCode.UNREACHABLE) from None
