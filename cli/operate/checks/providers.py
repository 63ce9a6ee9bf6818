"""The checks of `inferd doctor` on the providers: can each be reached, and does it accept its key? They never raise.

Requests the list of models, which costs nothing, through the same kind of client that calls them.
"""

import asyncio
from http import HTTPStatus
from typing import Final

import httpx2
from pydantic import SecretStr

from cli.operate.checks.finding import Finding, Level
from core.providers.catalogue import endpoints
from core.providers.transport import Timeouts, open_http_client
from core.settings import Settings, SettingsError

_TIMEOUTS: Final = Timeouts(connect=5.0, read=10.0)
_REFUSALS: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


async def check_providers(settings: Settings) -> list[Finding]:
    try:
        known = [(name, each.base_url, each.api_key) for name, each in endpoints(settings).items()]
    except SettingsError:
        # check_settings has reported it.
        return []
    if settings.local_base_url is not None:
        known.append(("local", settings.local_base_url, settings.local_api_key))
    found = list(await asyncio.gather(*(_check(name, url, key) for name, url, key in known)))
    if settings.echo_enabled:
        found.append(Finding("provider echo", Level.OK, "built in"))
    if not found:
        text = "none is set up: set a key such as INFERD_OPENAI_API_KEY, or name servers in INFERD_PROVIDERS."
        found.append(Finding("providers", Level.FAIL, text))
    return found


async def _check(name: str, base_url: str, api_key: SecretStr | None) -> Finding:
    title = f"provider {name}"
    key = api_key.get_secret_value() if api_key else ""
    try:
        async with open_http_client(api_key=key, connections=1, timeouts=_TIMEOUTS) as client:
            status = (await client.get(f"{base_url.rstrip('/')}/models")).status_code
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return Finding(title, Level.FAIL, f"{base_url} can't be reached ({type(error).__name__}).")
    return _judge(title, base_url, status, has_key=bool(key))


def _judge(title: str, base_url: str, status: int, *, has_key: bool) -> Finding:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Finding(title, Level.OK, f"{base_url} responds")
    if status in _REFUSALS:
        what = "refuses its key" if has_key else "wants a key"
        return Finding(title, Level.FAIL, f"{base_url} {what} (HTTP {status}).")
    if status == HTTPStatus.NOT_FOUND:
        text = f"{base_url}/models does not exist (HTTP 404): does the base URL end in /v1?"
        return Finding(title, Level.WARN, text)
    return Finding(title, Level.WARN, f"{base_url} returns HTTP {status} now.")
