"""docs/reference/webhooks.md, from core/domain/events.py and core/webhooks."""

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final
from uuid import UUID

from core.access.webhook_secrets import PREFIX
from core.domain.events import JobEnded
from core.domain.ids import EventId, JobId
from core.domain.inference import Usage
from core.domain.job_state import TERMINAL, JobState
from core.domain.transitions import Failure, cancel, expire
from core.webhooks.deliveries.schedule import MAX_ATTEMPTS, WAITS
from core.webhooks.egress.post import USER_AGENT
from core.webhooks.egress.signing import sign
from tools.reference.page import Page, code, fenced, markdown, table

_AT: Final = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
_JOB: Final = JobId(UUID("019e5f0a-3c00-7000-8000-000000000001"))
_EVENT: Final = EventId(UUID("019e5f0a-4f88-7000-8000-000000000002"))
_SECRET: Final = PREFIX + b64encode(b"an example, not used by anybody.").decode()
_MINUTE: Final = 60
_HOUR: Final = 3600

_INTRODUCTION: Final = """
# Webhooks

A job calls the URL of its own `webhook: {url, events}`, and each enabled endpoint that its tenant registered for the
event ([`/v1/webhook_endpoints`](api.md)), once for the end that it comes to. The rows are written in the transaction
that ends the job, so no end is without its webhook; the same event may arrive more than once, and two events in any
order. Use `webhook-id` to ignore what you have seen, and `data.sequence` to order events.

The format is [Standard Webhooks 1.0](https://www.standardwebhooks.com): any of its libraries verifies a delivery. The
secret of a job's own URL is the one that `GET /v1/webhook_secret` returns; an endpoint has a secret of its own.
"""
_RESPONSES: Final = """
### `response.*`

The same ends by OpenAI's names, for endpoints that ask for those: `response.completed`, `response.incomplete` (the
answer was cut by its limit or a filter; the job has succeeded), `response.failed` (also for an expired job) and
`response.cancelled`. They are events of their own, with ids of their own; `data` is the same, and `data.id` is the
job's.

`batch.*` may be asked for too, so that an OpenAI client can register for all that it knows. There are no batches yet:
only a test of an endpoint sends one.
"""
_ANSWERING: Final = """
## Answering

Any 2xx, within `INFERD_WEBHOOK_TIMEOUT_SECONDS`, is a delivery. Anything else is tried again; redirects are not
followed. Answer first and work afterwards. The job's `webhook.deliveries` say how each one went.
"""
_SCHEDULE_NOTES: Final = """
Each wait varies by a fifth either way. A `Retry-After`, in seconds or as a date, is honoured up to twice the planned
wait (a minute where that is less, a day at most). After 429, 502, 504 or a time-out the next attempt is at least a
minute away. A receiver whose address is not allowed is tried again like any other: its name may lead elsewhere by then.
"""
_ADDRESSES: Final = """
## Which addresses are reached

Public ones, by https. `INFERD_WEBHOOK_ALLOW_HTTP` also takes `http://`; `INFERD_WEBHOOK_ALLOW_CIDRS` opens private
ranges. The address that the socket connects to is what is checked; metadata services stay closed whatever is allowed.
"""


def pages() -> Iterator[Page]:
    yield markdown("webhooks.md", "core/domain/events.py and core/webhooks", _blocks())


def _blocks() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Events"
    for event in _examples():
        yield f"### {code(event.type)}"
        yield fenced(json.dumps(event.body(), indent=2), "json")
    yield _RESPONSES
    yield "## Headers"
    yield _headers()
    yield _ANSWERING
    yield f"## Schedule\n\n{MAX_ATTEMPTS} attempts, then the delivery is `exhausted`:"
    yield table(("Attempt", "Wait before it", "Since the first"), _schedule())
    yield _SCHEDULE_NOTES
    yield _ADDRESSES


def _examples() -> Iterator[JobEnded]:
    usage = Usage(input_tokens=12, output_tokens=34)
    failed = Failure("auth", "provider_auth_failed", "The provider does not accept the key. (HTTP 401)")
    failures = {JobState.FAILED: failed, JobState.CANCELLED: cancel().failure, JobState.EXPIRED: expire().failure}
    for state in JobState:
        if state in TERMINAL:
            succeeded = state is JobState.SUCCEEDED
            model = "openai/gpt-5-mini"
            yield JobEnded(_EVENT, _JOB, state, model, 3, _AT, usage if succeeded else None, failures.get(state))


def _headers() -> str:
    event = next(_examples())
    body = json.dumps(event.body(), separators=(",", ":")).encode()
    signed = sign(_SECRET, str(event.body()["id"]), int(_AT.timestamp()), body)
    meaning = {
        "webhook-id": "The event's id: the same for all attempts.",
        "webhook-timestamp": "When this attempt was sent, in Unix seconds.",
        "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, under the decoded secret.",
    }
    rows = [(code(name), code(value), meaning[name]) for name, value in signed.items()]
    rows += [("`content-type`", "`application/json`", ""), ("`user-agent`", code(USER_AGENT), "")]
    return table(("Header", "Example", "What it is"), rows)


def _schedule() -> Iterator[tuple[str, str, str]]:
    yield "1", "", ""
    for number, (wait, total) in enumerate(zip(WAITS, accumulate(WAITS), strict=True), start=2):
        yield str(number), _duration(wait), _duration(total)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if count)
