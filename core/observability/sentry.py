"""Bugs go to Sentry, weather does not: a provider's 503, a lost Redis or a bad request is counted, not reported.

Off unless a DSN is set. No bodies, no local variables, no personal data are sent.
"""

from typing import Final

import asyncpg
import sentry_sdk
from redis.exceptions import RedisError
from sentry_sdk.types import Event, Hint

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
        before_send=only_bugs,
    )
    sentry_sdk.set_tag("role", role)


def only_bugs(event: Event, hint: Hint) -> Event | None:
    """Drops and counts the failures that were to be expected."""
    error = hint.get("exc_info", (None, None, None))[1]
    if is_weather(error):
        count(EXPECTED_FAILURES, type(error).__name__)
        return None
    return event


def is_weather(error: BaseException | None) -> bool:
    """Whether an error is no bug of ours."""
    return isinstance(error, _WEATHER) or (isinstance(error, AppError) and not isinstance(error, Internal))
