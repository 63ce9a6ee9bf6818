"""structlog for everything, ours and the libraries': pretty on a terminal, one JSON object a line otherwise.

Logs go to stderr. Values under names that hold secrets or content are never written, whatever somebody logs.
"""

import logging
import sys
from collections.abc import MutableMapping
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
        processors=[*shared[:2], *shared[3:], *last],
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
