"""Bugs go to Sentry, weather does not: a provider's 503, a lost Redis or a bad request is counted, not reported.

Off unless a DSN is set. No bodies, no local variables, no personal data are sent; of a URL only its scheme and host,
because paths and queries of webhooks hold secrets. Nothing is added to what inferd sends to receivers and providers.
"""

import re
from typing import Final, cast

import asyncpg
import sentry_sdk
from redis.exceptions import RedisError
from sentry_sdk.types import Breadcrumb, BreadcrumbHint, Event, Hint

from core.domain.errors import AppError, Internal
from core.observability.metrics import EXPECTED_FAILURES, count
from core.settings import SentrySettings

_WEATHER: Final = (
    OSError,
    TimeoutError,
    RedisError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
# Scheme, then what may stand before the host, the host with its port, and the rest.
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*://)(?:[^\s/?#@\"'<>]*@)?([^\s/?#\"'<>]*)[^\s\"'<>]*", re.IGNORECASE)
_URL_PARTS: Final = ("http.query", "http.fragment", "url.query", "url.fragment", "url.path")


def configure_sentry(settings: SentrySettings, *, role: str) -> None:
    """Called once by each entry point, after the logs."""
    if settings.dsn is None:
        return
    sentry_sdk.init(
        dsn=settings.dsn.get_secret_value(),
        environment=settings.environment,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        # By default every request that leaves this process gets `sentry-trace` and `baggage` headers.
        trace_propagation_targets=[],
        before_send=only_bugs,
        before_send_transaction=lambda event, _: scrubbed(event),
        before_breadcrumb=scrub_breadcrumb,
    )
    sentry_sdk.set_tag("role", role)


def only_bugs(event: Event, hint: Hint) -> Event | None:
    """Drops and counts the failures that were to be expected; what is left is scrubbed."""
    error = hint.get("exc_info", (None, None, None))[1]
    if is_weather(error):
        count(EXPECTED_FAILURES, type(error).__name__)
        return None
    return scrubbed(event)


def scrub_breadcrumb(crumb: Breadcrumb, _hint: BreadcrumbHint) -> Breadcrumb:
    """A breadcrumb whose URLs are cut behind the host."""
    for name in ("message", "data"):
        if name in crumb:
            crumb[name] = _cut(crumb[name])
    return crumb


def scrubbed(event: Event) -> Event:
    """The event with its URLs cut behind the host, wherever it may hold one."""
    request = event.get("request")
    if isinstance(request, dict):
        # The route is in the event's `transaction`.
        for name in ("url", "query_string", "cookies", "data", "env"):
            request.pop(name, None)
    for each in (event.get("exception") or {}).get("values") or ():
        each["value"] = _cut(each.get("value"))
    fields = cast(dict[str, object], event)
    for name in ("logentry", "message", "extra", "spans"):
        if name in fields:
            fields[name] = _cut(fields[name])
    return event


def _cut(value: object) -> object:
    """`value` without what follows the host in its URLs, and without the parts of a URL that stand alone."""
    match value:
        case str():
            return _URL.sub(r"\1\2", value)
        case dict():
            return {name: _cut(inner) for name, inner in value.items() if name not in _URL_PARTS}
        case list() | tuple():
            return [_cut(inner) for inner in value]
        case _:
            return value


def is_weather(error: BaseException | None) -> bool:
    """Whether an error is no bug of ours."""
    return isinstance(error, _WEATHER) or (isinstance(error, AppError) and not isinstance(error, Internal))
