"""Sends one webhook over a guarded socket: the only way out of inferd to an address that a tenant chose.

The address is checked where it is used, after resolution and for each connection, so no rebinding and no second parser
can get between. No redirects, no cookies, no proxy from the environment, one deadline over everything, and at most
16 kB of the answer are read. Called by core/webhooks/deliver.py.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

import aiohttp
from aiohttp import AddrInfoType

from core.settings import WebhookSettings
from core.webhooks.addresses import is_allowed

_READ_BYTES: Final = 16 * 1024
USER_AGENT: Final = "inferd-webhooks/1"

Problem = Literal["blocked", "unreachable", "tls", "timeout", "broken"]


class Blocked(OSError):
    """The address may not be reached."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The receiver's answer: its status, what it asked for, and the first bytes of its body."""

    status: int
    retry_after: str | None
    excerpt: bytes


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There was none, and why."""

    problem: Problem


class Egress:
    """One guarded pool for a process; open it with `async with`."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings

        def guarded(info: AddrInfoType) -> socket.socket:
            family, kind, protocol, _, address = info
            if not is_allowed(str(address[0]), settings.allow_cidrs):
                raise Blocked("address not allowed")
            return socket.socket(family, kind, protocol)

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=guarded, limit=settings.concurrency, limit_per_host=4, use_dns_cache=False
            ),
            timeout=aiohttp.ClientTimeout(
                total=settings.timeout_seconds, sock_connect=settings.connect_timeout_seconds
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={"user-agent": USER_AGENT},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered | NoAnswer:
        """One POST. Never raises for what the receiver or the network does."""
        if self._session is None:
            raise RuntimeError("the egress is not open")
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                excerpt = await response.content.read(_READ_BYTES)
                return Answered(response.status, response.headers.get("retry-after"), excerpt)
        except TimeoutError:
            return NoAnswer("timeout")
        except aiohttp.ClientSSLError:
            return NoAnswer("tls")
        except aiohttp.ClientConnectorError as error:
            return NoAnswer("blocked" if isinstance(error.os_error, Blocked) else "unreachable")
        except (aiohttp.ClientError, OSError, ValueError):
            return NoAnswer("broken")
