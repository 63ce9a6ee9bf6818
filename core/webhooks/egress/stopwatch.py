"""Where the time of an exchange went: name, connect, TLS, first byte. Used by core/webhooks/egress/post.py only.

Tenants read the parts in a delivery's log; whether a connection came to be also decides between `timeout` and
`unreachable`. aiohttp's tracing reports names and whole connections; where TCP ends and TLS begins is known from the
handshake.
"""

import ssl
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp import ClientRequest, ClientSession, TraceConfig
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from core.domain.ids import TenantId
from core.webhooks.egress.exchange import Timing


class Stopwatch:
    """One exchange's."""

    def __init__(self) -> None:
        self.host = ""
        """The name that it goes to."""
        self.secure = False
        """Whether it goes there by TLS."""
        self.blocked = False
        """Whether it led to an address that may not be reached."""
        self.tenant_id: TenantId | None = None
        """On whose behalf it is."""
        self.addresses: set[str] = set()
        """Where it has a place (core/webhooks/egress/places.py)."""
        self.full: str | None = None
        """An address that had no place left."""
        self._started = time.perf_counter()
        self._dns: tuple[float, float] | None = None
        self._connecting: float | None = None
        self._connected: float | None = None
        self._ready: float | None = None
        self._sent: float | None = None
        self._answered: float | None = None

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    @property
    def reached(self) -> bool:
        """Whether there was a connection, new or kept."""
        return self._connected is not None or self._sent is not None

    def answered(self) -> None:
        self._answered = time.perf_counter()

    def resolving(self) -> None:
        now = time.perf_counter()
        self._dns = (now, now)

    def resolved(self) -> None:
        if self._dns is not None:
            self._dns = (self._dns[0], time.perf_counter())

    def connecting(self) -> None:
        self._connecting = time.perf_counter()

    def connected(self) -> None:
        if self._connected is None:
            self._connected = time.perf_counter()

    def ready(self) -> None:
        self.connected()
        self._ready = time.perf_counter()

    def sent(self) -> None:
        self._sent = time.perf_counter()

    def timing(self) -> Timing:
        """As far as it went."""
        connect_from = self._dns[1] if self._dns else self._connecting
        return Timing(
            dns_ms=_between(*self._dns) if self._dns else None,
            connect_ms=_between(connect_from, self._connected),
            tls_ms=_between(self._connected, self._ready) if self.secure else None,
            first_byte_ms=_between(self._sent, self._answered),
            total_ms=_between(self._started, time.perf_counter()),
        )


# The exchange that this task is in: connections are made by the task that asks for one.
current: ContextVar[Stopwatch] = ContextVar("stopwatch")


class TimedHandshake(ssl.SSLObject):
    """Marks, on the current stopwatch, that TCP is connected and TLS begins. For SSLContext.sslobject_class."""

    def do_handshake(self) -> None:
        if (watch := current.get(None)) is not None:
            watch.connected()
        super().do_handshake()


class TimedConnector(aiohttp.TCPConnector):
    """Calls `reused` with the address of a connection that was kept."""

    def __init__(self, *, reused: Callable[[str], None], **options: Any) -> None:
        super().__init__(**options)
        self._reused = reused

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:  # noqa: ASYNC109 - aiohttp's signature
        """A connection, new or kept. Raises what `reused` raises."""
        connection = await super().connect(req, traces, timeout)
        watch = current.get(None)
        if watch is not None and not watch.addresses and connection.transport is not None:
            try:
                self._reused(str(connection.transport.get_extra_info("peername")[0]))
            except BaseException:
                connection.release()
                raise
        return connection


def tracing() -> TraceConfig:
    """Marks the moments on the stopwatch that a request carries as its `trace_request_ctx`."""
    config = TraceConfig()
    config.on_dns_resolvehost_start.append(_marks(Stopwatch.resolving))
    config.on_dns_resolvehost_end.append(_marks(Stopwatch.resolved))
    config.on_connection_create_start.append(_marks(Stopwatch.connecting))
    config.on_connection_create_end.append(_marks(Stopwatch.ready))
    config.on_request_headers_sent.append(_marks(Stopwatch.sent))
    return config


def _marks(moment: Callable[[Stopwatch], None]) -> Callable[[ClientSession, SimpleNamespace, object], Awaitable[None]]:
    async def signal(_session: ClientSession, context: SimpleNamespace, _params: object) -> None:
        moment(context.trace_request_ctx)

    return signal


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round((end - start) * 1000, 2)
