"""Reports bugs to Sentry. Operational errors (a provider's 503, a lost Redis, a bad request) are counted instead.

Off unless a DSN is set. No bodies, local variables or personal data are sent. URLs are cut to scheme and host, because
the paths and queries of webhooks hold secrets. No tracing headers are added to calls to receivers and providers.
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

_OPERATIONAL: Final = (
    OSError,
    TimeoutError,
    RedisError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
# The scheme, optional user and password, the host with its port, and the rest.
_URL: Final = re.compile(r"\b([a-z][a-z0-9+.-]*://)(?:[^\s/?#@\"'<>]*@)?([^\s/?#\"'<>]*)[^\s\"'<>]*", re.IGNORECASE)
_URL_PARTS: Final = ("http.query", "http.fragment", "url.query", "url.fragment", "url.path")


def configure_sentry(settings: SentrySettings, *, role: str) -> None:
    """Starts Sentry when a DSN is set. Each entry point calls it once, after configure_logs."""
    if settings.dsn is None:
        return
    sentry_sdk.init(
        dsn=settings.dsn.get_secret_value(),
        environment=settings.environment,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        # By default every outgoing request gets `sentry-trace` and `baggage` headers.
        trace_propagation_targets=[],
        before_send=only_bugs,
        before_send_transaction=lambda event, _: scrubbed(event),
        before_breadcrumb=scrub_breadcrumb,
    )
    sentry_sdk.set_tag("role", role)


def only_bugs(event: Event, hint: Hint) -> Event | None:
    """Drops and counts operational errors, and scrubs the rest."""
    error = hint.get("exc_info", (None, None, None))[1]
    if is_operational(error):
        count(EXPECTED_FAILURES, type(error).__name__)
        return None
    return scrubbed(event)


def scrub_breadcrumb(crumb: Breadcrumb, _hint: BreadcrumbHint) -> Breadcrumb:
    """Cuts the URLs of a breadcrumb after the host."""
    for name in ("message", "data"):
        if name in crumb:
            crumb[name] = _cut(crumb[name])
    return crumb


def scrubbed(event: Event) -> Event:
    """Cuts every URL of the event after the host."""
    request = event.get("request")
    if isinstance(request, dict):
        # They are not needed: the event's `transaction` names the route.
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
    """Returns `value` with its URLs cut after the host, and without fields that hold a part of a URL."""
    match value:
        case str():
            return _URL.sub(r"\1\2", value)
        case dict():
            return {name: _cut(inner) for name, inner in value.items() if name not in _URL_PARTS}
        case list() | tuple():
            return [_cut(inner) for inner in value]
        case _:
            return value


def is_operational(error: BaseException | None) -> bool:
    """Whether `error` is an outage or a refusal that is to be expected, and not a bug."""
    return isinstance(error, _OPERATIONAL) or (isinstance(error, AppError) and not isinstance(error, Internal))
