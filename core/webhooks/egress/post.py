"""Sends one webhook over a guarded socket: the only way from inferd to an address that a tenant chose.

The address is checked where it is used, after resolution and for each connection, so no rebinding and no second parser
can get between. No redirects, no cookies, no proxy from the environment, one deadline over everything, and at most
16 kB of the response are read. Names are resolved without threads, so a slow zone delays no other delivery.
Called by core/webhooks/deliveries/deliver.py.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import AsyncResolver
from yarl import URL

from core.domain.ids import TenantId
from core.settings import WebhookSettings
from core.webhooks.egress.addresses import is_allowed
from core.webhooks.egress.exchange import Answered, NoAnswer, NoPlace, Problem
from core.webhooks.egress.places import AddressPlaces
from core.webhooks.egress.stopwatch import Stopwatch, TimedConnector, TimedHandshake, current, tracing

_READ_BYTES: Final = 16 * 1024
# For a receiver that sends its status and never ends its body.
_BODY_SECONDS: Final = 1.0
_MOST_HOSTS: Final = 10_000
USER_AGENT: Final = "inferd-webhooks/1"


class Blocked(OSError):
    """The address may not be reached."""


class Full(OSError):
    """The address has as many open requests as it may have."""


class Egress:
    """One guarded pool for a process; open it with `async with`. `resolver` is for tests with a DNS of their own."""

    def __init__(self, settings: WebhookSettings, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._places = AddressPlaces(settings.per_address, settings.timeout_seconds)
        # Hosts that led to an address which only this deployment lets us reach.
        self._private: set[str] = set()

    async def __aenter__(self) -> Self:
        settings = self._settings
        resolver = self._resolver or AsyncResolver(timeout=settings.longest_connect_seconds, tries=1)
        self._session = aiohttp.ClientSession(
            connector=TimedConnector(
                socket_factory=self._guarded,
                reused=self._enter,
                resolver=resolver,
                ssl=_trust(settings),
                use_dns_cache=False,
                # How many are in flight is for core/webhooks/sql/claim.sql to say, and to an address for _enter.
                limit=0,
                limit_per_host=0,
            ),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_seconds, connect=settings.longest_connect_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[tracing()],
            trust_env=False,
            auto_decompress=False,
            headers={"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "identity"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, tenant_id: TenantId
    ) -> Answered | NoAnswer | NoPlace:
        """One POST for a tenant. Never raises for what the receiver or the network does.

        Without a connection it always returns after the connect's timeout, whatever the reason: so a tenant can't
        learn which ports of somebody else are closed and which are filtered, nor what our names resolve to.
        """
        watch = Stopwatch()
        watch.tenant_id = tenant_id
        try:
            answer = await self._post(url, headers, body, watch)
        finally:
            for address in watch.addresses:
                self._places.leave(address, tenant_id)
        if isinstance(answer, NoAnswer) and watch.full is not None and not watch.reached:
            return NoPlace(self._places.wait(watch.full, asyncio.get_running_loop().time()))
        if isinstance(answer, NoAnswer) and answer.problem == "unreachable":
            await asyncio.sleep(self._settings.longest_connect_seconds - watch.seconds())
        return answer

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes, watch: Stopwatch) -> Answered | NoAnswer:
        if self._session is None:
            raise RuntimeError("the egress is not open")
        token = current.set(watch)
        try:
            parsed = URL(url)
            watch.host, watch.secure = parsed.host or "", parsed.scheme == "https"
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=watch
            ) as response:
                watch.answered()
                return Answered(
                    status=response.status,
                    retry_after=response.headers.get("retry-after"),
                    date=response.headers.get("date"),
                    body=await _beginning(response),
                    public=watch.host not in self._private,
                    timing=watch.timing(),
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return NoAnswer(*_explain(error, watch), watch.timing())
        finally:
            current.reset(token)

    def _guarded(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        host = str(address[0])
        watch = current.get()
        if not is_allowed(host, self._settings.allow_cidrs):
            watch.blocked = True
            raise Blocked("address not allowed")
        if not is_allowed(host, ()):
            if len(self._private) >= _MOST_HOSTS:
                self._private.clear()
            self._private.add(watch.host)
        self._enter(host)
        return socket.socket(family, kind, protocol)

    def _enter(self, address: str) -> None:
        """Counts the current exchange at the address. Raises Full."""
        watch = current.get()
        if watch.tenant_id is None or address in watch.addresses:
            return
        if not self._places.enter(address, watch.tenant_id):
            watch.full = address
            raise Full("too many requests to this address are open")
        watch.addresses.add(address)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of the body. A body that fails changes nothing: the status decides the outcome."""
    read = bytearray()
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_BODY_SECONDS):
            while len(read) < _READ_BYTES and (chunk := await response.content.read(_READ_BYTES - len(read))):
                read += chunk
    if len(read) >= _READ_BYTES or not response.content.at_eof():
        # Unread bytes are left on the connection, so it can't be kept.
        response.close()
    return bytes(read)


def _explain(error: Exception, watch: Stopwatch) -> tuple[Problem, str]:
    """The problem for the tenant, and the reason for the operator's log."""
    match error:
        case aiohttp.ClientSSLError():
            return "tls", type(error).__name__
        case aiohttp.ClientConnectorError() | aiohttp.InvalidURL():
            return "unreachable", "Blocked" if watch.blocked else type(error).__name__
        case TimeoutError():
            return "timeout" if watch.reached else "unreachable", type(error).__name__
        case aiohttp.ClientResponseError():
            return "protocol", type(error).__name__
        case _:
            return "reset", type(error).__name__


def _trust(settings: WebhookSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslobject_class = TimedHandshake
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    return context
