"""What every log line of a request or a run carries: request_id, job_id, model, attempt.

Bound around the work, not in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bind_contextvars, reset_contextvars


@contextmanager
def bound(**values: str | int) -> Iterator[None]:
    """Adds `values` to every line logged inside, here and in what is awaited."""
    tokens = bind_contextvars(**values)
    try:
        yield
    finally:
        reset_contextvars(**tokens)
