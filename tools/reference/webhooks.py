"""docs/reference/webhooks.md: events, headers and retries, from core/domain/events.py and core/webhooks."""

import json
from base64 import b64encode
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from pydantic import BaseModel

from core.access.webhook_secrets import PREFIX
from core.domain.events import (
    BATCH_EVENT_TYPES,
    EVENT_TYPES,
    EVENTS,
    JOB_EVENT_TYPES,
    PROGRESS_EVENT_TYPES,
    BatchEventData,
    EndpointEventData,
    Event,
    EventError,
    EventType,
    EventUsage,
    JobEventData,
    example,
)
from core.webhooks.deliveries.schedule import DISABLING_FAILURES, DISABLING_SECONDS, MAX_ATTEMPTS, WAITS
from core.webhooks.egress.post import USER_AGENT
from core.webhooks.egress.signing import HEADERS, sign
from tools.reference.page import Page, code, fenced, markdown, table

_SECRET: Final = PREFIX + b64encode(b"an example, not used by anybody.").decode()
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_EXAMPLES: Final[tuple[EventType, ...]] = ("job.succeeded", "job.failed", "job.retrying", "webhook.disabled")

_INTRODUCTION: Final = """
# Webhooks

A job sends its events to the URL of its own `webhook: {url, events}`, and to each enabled endpoint of its tenant that
names the event ([`/v1/webhook_endpoints`](api.md)). The deliveries are written in the transaction that changes the
job, so no change is without its webhook. The same event may arrive more than once, and two events in any order: use
`webhook-id` to ignore what you have seen, and `data.sequence` to put a job's events in order.

The format is [Standard Webhooks 1.0](https://www.standardwebhooks.com): any of its libraries verifies a delivery.
`GET /v1/webhook_secret` returns the secret that signs deliveries to the URLs of jobs; an endpoint has a secret of its
own, which is in the response that creates it.
"""
_SIGNATURES: Final = """
The signed text is `{webhook-id}.{webhook-timestamp}.{body}`, with the exact bytes of the body. A secret `whsec_…`
signs as `v1`: HMAC-SHA256 under the base64-decoded part behind the prefix. An endpoint that is created with
`"signature": "v1a"` signs with ed25519, and its receiver verifies with the public key `whpk_…`. For 24 hours after a
rotation that keeps the old secret, both secrets sign and the header has both signatures.
"""
_RESPONDING: Final = f"""
## Responding

| Response | What happens |
| --- | --- |
| 2xx within `INFERD_WEBHOOK_TIMEOUT_SECONDS` | `delivered` |
| 410 | `exhausted`; the endpoint is disabled |
| any other status, redirects included (they are not followed) | tried again |
| none: no such name, a closed port, an address that is not allowed, TLS that fails, a time-out | tried again |

Respond first and work afterwards. An address that is not allowed is tried again like one that is unreachable, because
its name may lead elsewhere by then; both have the error `unreachable`. An endpoint that has failed
{DISABLING_FAILURES} times in a row, over at least {round(DISABLING_SECONDS / _DAY)} days, is disabled, and
`webhook.disabled` is sent to the tenant's other endpoints that name it. `GET /v1/webhook_endpoints/{{id}}/deliveries`
and `GET /v1/jobs/{{id}}/deliveries` list how each delivery went.
"""
_SCHEDULE_NOTES: Final = """
Each wait varies by a fifth either way. A `Retry-After`, in seconds or as a date, is honoured up to twice the planned
wait (a minute where that is less, a day at most). After 429, 502, 504 or a time-out the next attempt is at least a
minute later.
"""
_ADDRESSES: Final = """
## Which addresses are reached

Public ones, by https. `INFERD_WEBHOOK_ALLOW_HTTP` allows `http://` too; `INFERD_WEBHOOK_ALLOW_CIDRS` allows private
ranges. The address that the socket connects to is what is checked; metadata services are refused whatever is allowed.
"""

_DATA: Final[dict[str, type[BaseModel]]] = {
    "`data` of `job.*` and `response.*`": JobEventData,
    "`data.usage`": EventUsage,
    "`data.error`": EventError,
    "`data` of `batch.*`": BatchEventData,
    "`data` of `webhook.*`": EndpointEventData,
}


def pages() -> Iterator[Page]:
    yield markdown("webhooks.md", "core/domain/events.py and core/webhooks", _blocks())


def _blocks() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Events"
    yield table(("Type", "When it is sent", "Who may name it"), _types())
    yield "### The envelope"
    yield _fields(Event, "data")
    for name, shape in _DATA.items():
        yield f"### {name}"
        yield _fields(shape)
    yield "### Examples"
    for each in _EXAMPLES:
        yield fenced(json.dumps(example(each), indent=2), "json")
    yield "## Headers"
    yield _headers()
    yield _SIGNATURES
    yield _RESPONDING
    yield f"## Schedule\n\n{MAX_ATTEMPTS} attempts, then the delivery is `exhausted`:"
    yield table(("Attempt", "Wait before it", "Since the first"), _schedule())
    yield _SCHEDULE_NOTES
    yield _ADDRESSES


def _types() -> Iterator[tuple[str, str, str]]:
    for each in EVENT_TYPES:
        who = "an endpoint"
        if each in JOB_EVENT_TYPES:
            who = "a job (by default), an endpoint"
        elif each in PROGRESS_EVENT_TYPES:
            who = "a job, an endpoint"
        elif each in BATCH_EVENT_TYPES:
            who = "an endpoint, for later"
        yield code(each), EVENTS[each].summary, who


def _fields(shape: type[BaseModel], *more: str) -> str:
    rows = [
        (code(name), "always" if field.is_required() or name == "object" else "sometimes", field.description or "")
        for name, field in shape.model_fields.items()
    ]
    return table(("Field", "Present", "Meaning"), [*rows, *((code(each), "always", "See below.") for each in more)])


def _headers() -> str:
    event = example("job.succeeded")
    body = json.dumps(event, separators=(",", ":")).encode()
    signed = sign(_SECRET, str(event["id"]), int(str(event["created_at"])), body)
    rows = [(code(name), code(signed[name]), meaning) for name, meaning in HEADERS.items()]
    rows += [("`content-type`", "`application/json`", ""), ("`user-agent`", code(USER_AGENT), "")]
    return table(("Header", "Example", "Meaning"), rows)


def _schedule() -> Iterator[tuple[str, str, str]]:
    yield "1", "", ""
    for number, (wait, total) in enumerate(zip(WAITS, accumulate(WAITS), strict=True), start=2):
        yield str(number), _duration(wait), _duration(total)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if count)
