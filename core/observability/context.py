"""Fields that every log line of a request or a run has: request_id, job_id, model, attempt."""

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bind_contextvars, reset_contextvars


@contextmanager
def bound(**values: str | int) -> Iterator[None]:
    """Adds `values` to every line that is logged inside the block, including in awaited coroutines."""
    tokens = bind_contextvars(**values)
    try:
        yield
    finally:
        reset_contextvars(**tokens)
