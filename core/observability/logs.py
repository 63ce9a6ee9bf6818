"""structlog for everything, ours and the libraries': pretty on a terminal, one JSON object a line otherwise.

Logs go to stderr. Values under names that hold secrets or content are never written, whatever somebody logs.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from structlog.types import Processor

from core.settings import LogSettings

_NEVER: Final = frozenset(
    {
        "api_key",
        "authorization",
        "body",
        "input",
        "messages",
        "output",
        "password",
        "prompt",
        "result",
        "secret",
        "token",
    }
)


# What every job or connection would say again and again while a store or a provider is away.
_REPEATED: Final = frozenset(
    {
        "call_waits_for_store",
        "finish_waits_for_store",
        "heartbeat_failed",
        "late_usage_lost",
        "queue_finish_failed",
        "queue_heartbeat_failed",
        "queue_poll_failed",
        "queue_task_put_back",
        "request_failed",
        "enqueue_failed",
        "spool_failed",
        "sweep_failed",
    }
)


@dataclass(slots=True)
class Seldom:
    """Lets the same be said once in so many seconds, and counts what was left unsaid meanwhile."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _said: dict[str, tuple[float, int]] = field(default_factory=dict)

    def unsaid(self, what: str) -> int | None:
        """How often it was left unsaid since the last time, or None: not now. `what` is one of a few."""
        now = self.clock()
        said_at, unsaid = self._said.get(what, (-math.inf, 0))
        if now - said_at < self.seconds:
            self._said[what] = (said_at, unsaid + 1)
            return None
        self._said[what] = (now, 0)
        return unsaid


_SELDOM: Final = Seldom(seconds=1.0)


def thin_out(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Of an event that every job would repeat: one line a second, with the number of those that it stands for."""
    name = event.get("event")
    if isinstance(name, str) and name in _REPEATED:
        unsaid = _SELDOM.unsaid(name)
        if unsaid is None:
            raise structlog.DropEvent
        if unsaid:
            event["unsaid"] = unsaid
    return event


def configure_logs(settings: LogSettings) -> None:
    """Called once by each entry point, before anything else."""
    pretty = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        plain,
        redact,
    ]
    last: list[Processor] = (
        # Not the default of it, which prints every local variable of a traceback, and so prompts and keys.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        # First: what is dropped costs nothing more.
        processors=[thin_out, *shared[:2], *shared[3:], *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for noisy in ("arq", "httpx2", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def plain(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Drops uvicorn's second copy of its message, which has colours for a terminal."""
    event.pop("color_message", None)
    return event


def redact(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Replaces what must not be in a log, by name."""
    for name in _NEVER & event.keys():
        event[name] = "[redacted]"
    return event
