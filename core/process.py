"""How a long-running process starts and ends: settings, logs, Sentry, the loop, and an exit code that means something.

Called by api/main.py and worker/main.py. Exit codes: 0 stopped as asked, 2 wrong settings, 3 it could not start.
"""

import asyncio
import gc
import os
import resource
import socket
import sys
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Final

import structlog
import uvloop

from core.db.engine import DatabaseUnusable
from core.observability.logs import configure_logs
from core.observability.sentry import configure_sentry
from core.settings import Settings, SettingsError, load_settings

_WRONG_SETTINGS: Final = 2
_NOT_STARTED: Final = 3
_FILES: Final = 65_536
# A thousand calls in flight are more objects than Python's own threshold of 700: it would look at all of them again and
# again. Some tens of megabytes at most, for a fifth of the time of a job.
COLLECTIONS: Final = (50_000, 20, 50)

_CANCEL_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class CannotListen(Exception):
    """A port is taken, or the address is not this machine's. `variable` is the setting that chooses the port."""

    def __init__(self, address: str, error: OSError | None, variable: str) -> None:
        # asyncio adds the address to the text of an error, and the resolver has numbers of its own.
        number = error.errno or 0 if error is not None else 0
        why = os.strerror(number) if number > 0 else str(error)
        super().__init__(
            f"Can't listen on {address}: {why}. Stop what listens there, or set {variable} to another port."
        )


def check_address(host: str, port: int, variable: str) -> None:
    """Raises CannotListen when `host`:`port` can't be listened on now."""
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            socket.create_server((address[0], port), family=family).close()
    except OSError as error:
        raise CannotListen(f"{host}:{port}", error, variable) from None


async def end_tasks(tasks: "Collection[asyncio.Task[None]]") -> None:
    """Cancels the tasks until each has ended."""
    while tasks:
        # Again and again: a driver that is cancelled in the middle of an error may only report the error.
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)


def open_more_files() -> None:
    """Raises this process's own limit of open files as far as it may.

    Each call in flight is a connection, and a shell usually grants 1,024 of the many thousands that it could.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_process(role: str, serve: Callable[[Settings], Coroutine[None, None, None]]) -> int:
    """Runs `serve` and returns the exit code. An error other than a wrong setting or a missing store is a bug."""
    # Imported modules stay for good: garbage collections skip them, which also saves a third of a second at the end.
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    open_more_files()
    try:
        settings = load_settings()
        configure_logs(settings.log)
        configure_sentry(settings.sentry, role=role)
        uvloop.run(serve(settings))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there are no log settings yet
        return _WRONG_SETTINGS
    except (DatabaseUnusable, CannotListen) as error:
        log.error("not_started", role=role, reason=str(error))  # noqa: TRY400 - the reason needs no traceback
        return _NOT_STARTED
    return 0
