"""Generates docs/reference/errors.md from core/domain/errors.py and core/providers."""

from collections.abc import Iterator
from typing import Final

from core.domain.errors import CODES, JOB_NEXT_STEPS, STATUSES, AppError
from core.domain.retry import Disposition
from core.providers.fault_codes import CODES as FAULT_CODES
from core.providers.faults import DISPOSITIONS
from tools.reference.page import Page, code, fenced, markdown, table

_INTRODUCTION: Final = """
# Errors

Every error has this shape. Its response has the header `x-request-id`, if the request could be read:
"""
_SHAPE: Final = """
{"error": {"message": "…", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}
"""
_SHAPE_NOTES: Final = """
`message` says what to do next, and its text may change. `code` never changes its meaning. `param` names the field, or
is null. When a retry can help, the response has `Retry-After`; when it can't, it has `x-should-retry: false`.
"""
_JOBS: Final = """
## Errors of a job

A job that ended without a result has `error: {code, message, next_step}`; an attempt that failed has
`error: {class, code, message}`. The code is one of these, or one of the faults of providers below.
"""
_FAULTS: Final = """
## Faults of a provider

The class alone decides what happens next. `retry` uses up an attempt and tries again later. `snooze` tries again later
and uses up no attempt, with growing waits. `wait_out` does the same with short waits, for outages that are usually
short. `give_up` fails the job at once. *Billed* says whether the provider probably charged for the call.
"""


def pages() -> Iterator[Page]:
    yield markdown("errors.md", "core/domain/errors.py and core/providers", _blocks())


def _blocks() -> Iterator[str]:
    yield _INTRODUCTION
    yield fenced(_SHAPE, "json")
    yield _SHAPE_NOTES
    yield "## By HTTP status"
    yield table(("Status", "`type`", "Default `code`", "Retry can help"), sorted(_statuses()))
    yield "## Codes"
    yield table(
        ("`code`", "Status", "What it means"), [(code(name), str(STATUSES[name]), text) for name, text in CODES.items()]
    )
    yield _JOBS
    yield table(("`code`", "What to do"), [(code(name), text) for name, text in JOB_NEXT_STEPS.items()])
    yield _FAULTS
    for disposition in Disposition:
        yield f"### {code(disposition.value)}"
        yield table(("Class", "`code`", "Billed", "What happened", "What to do"), _faults(disposition))


def _statuses() -> Iterator[tuple[str, str, str, str]]:
    waiting: list[type[AppError]] = list(AppError.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        yield str(kind.status), code(kind.kind), code(kind.default_code), "yes" if kind.retryable else "no"


def _faults(disposition: Disposition) -> Iterator[tuple[str, str, str, str, str]]:
    for name, info in FAULT_CODES.items():
        if DISPOSITIONS[info.fault_class] is disposition:
            yield code(info.fault_class.value), code(str(name)), info.billed, info.sentence, info.next_step
