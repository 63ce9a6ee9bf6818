"""structlog for inferd and its libraries: coloured lines on a terminal, one JSON object a line otherwise.

Logs go to stderr. The values of fields that hold secrets or content are redacted by name.
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

_REDACTED: Final = frozenset(
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

# Events that every job or connection would repeat while a store or a provider is away.
_THROTTLED: Final = frozenset(
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
class LogThrottle:
    """Lets each key through once in `seconds`, and counts how often it was suppressed meanwhile."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[float, int]] = field(default_factory=dict)

    def suppressed(self, key: str) -> int | None:
        """Returns how often `key` was suppressed since it was last let through; None suppresses it now.

        Keys are kept for ever, so they must come from a small set.
        """
        now = self.clock()
        let_through_at, suppressed = self._seen.get(key, (-math.inf, 0))
        if now - let_through_at < self.seconds:
            self._seen[key] = (let_through_at, suppressed + 1)
            return None
        self._seen[key] = (now, 0)
        return suppressed


_THROTTLE: Final = LogThrottle(seconds=1.0)


def throttle(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Lets one line a second of each throttled event through; `suppressed` counts the lines that were dropped."""
    name = event.get("event")
    if isinstance(name, str) and name in _THROTTLED:
        suppressed = _THROTTLE.suppressed(name)
        if suppressed is None:
            raise structlog.DropEvent
        if suppressed:
            event["suppressed"] = suppressed
    return event


def configure_logs(settings: LogSettings) -> None:
    """Sets up structlog and the standard library's logging. Each entry point calls it once, before anything else."""
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
        # The default formatter prints the local variables of a traceback, and so prompts and keys.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        # The throttle is first, so that a dropped line costs nothing more.
        processors=[throttle, *shared[:2], *shared[3:], *last],
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
    """Drops uvicorn's second copy of its message, which has colour codes."""
    event.pop("color_message", None)
    return event


def redact(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Replaces the values of fields that must not be logged."""
    for name in _REDACTED & event.keys():
        event[name] = "[redacted]"
    return event
