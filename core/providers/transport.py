"""The HTTP client that calls providers.

The adapters open one for each shard. It follows no redirects, keeps no cookies, uses no proxies and no credentials from
the environment, and sends only the headers listed below. TCP keepalive probes keep silent connections open in NAT
gateways.
"""

import functools
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx2

# The SDK adds headers from OPENAI_CUSTOM_HEADERS and others, which can't be switched off; only these are passed on.
SENT_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "x-inferd-attempt",
        "x-inferd-job-id",
        "x-inferd-run",
    }
)


# For the call of the current task: checked once the connection is open, before the request's header and its body.
MAY_SEND: Final[ContextVar[Callable[[], bool]]] = ContextVar("may_send", default=lambda: True)
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
_COMPRESSED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_PIECE: Final = 65_536


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase. `read` is the longest silence; None leaves it to the attempt's timeout."""

    connect: float = 5.0
    write: float = 30.0
    pool: float = 5.0
    read: float | None = None


DEFAULT_TIMEOUTS: Final = Timeouts()


class AnswerTooLarge(httpx2.RequestError):
    """The decompressed body is larger than an answer may be."""


class NotSent(httpx2.RequestError):
    """`may_send` refused the call just before it would have been sent, or before a server can have read all of it."""


async def _ask_before_sending(event: str, _info: Mapping[str, object]) -> None:
    """Stops a call that must not be sent any more. httpcore calls it as its "trace" extension, which may raise."""
    if event.endswith(("send_request_headers.started", "send_request_body.started")) and not MAY_SEND.get()():
        raise NotSent("the worker stalled")


class _Bounded(httpx2.AsyncByteStream):
    """A body that is decompressed here, with a limit: a few kilobytes of gzip may unpack to gigabytes."""

    def __init__(self, inner: httpx2.AsyncByteStream, encoding: str, most: int) -> None:
        self._inner = inner
        self._most = most
        # 32: detect gzip or zlib by the header.
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding in _COMPRESSED else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        async for raw in self._inner:
            for piece in self._pieces(raw):
                left -= len(piece)
                if left < 0:
                    raise AnswerTooLarge(f"more than {self._most} bytes")
                yield piece

    def _pieces(self, raw: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            yield raw
            return
        try:
            while raw:
                yield self._inflate.decompress(raw, _PIECE)
                raw = self._inflate.unconsumed_tail
        except zlib.error as error:
            raise httpx2.DecodingError(str(error)) from error

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Guard(httpx2.AsyncBaseTransport):
    """Sends only our own headers, and reads at most `most` bytes of a response.

    It wraps the transport under the SDK, which adds headers of its own and reads bodies of any size.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, api_key: str, most: int) -> None:
        self._inner = inner
        self._most = most
        self._own = {
            "accept": "application/json",
            # Only what _Bounded can decompress.
            "accept-encoding": "gzip, deflate",
            "content-type": "application/json",
            "user-agent": "inferd",
        }
        if api_key:
            self._own["authorization"] = f"Bearer {api_key}"

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        kept = {name: value for name, value in request.headers.items() if name in SENT_HEADERS}
        response = await self._inner.handle_async_request(
            httpx2.Request(
                request.method,
                request.url,
                headers=kept | self._own,
                stream=request.stream,
                extensions={**request.extensions, "trace": _ask_before_sending},
            )
        )
        return self._bounded(response)

    def _bounded(self, response: httpx2.Response) -> httpx2.Response:
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError("the inner transport is not an asynchronous one")
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding in _COMPRESSED:
            del response.headers["content-encoding"]
        response.stream = _Bounded(response.stream, encoding, self._most)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def open_http_client(
    *, api_key: str, connections: int, timeouts: Timeouts, max_answer_bytes: int = MAX_ANSWER_BYTES
) -> httpx2.AsyncClient:
    """Opens a client with up to `connections` connections and `api_key` as its bearer token, unless that is empty.

    Reading a body of more than `max_answer_bytes` raises AnswerTooLarge.
    """
    transport = httpx2.AsyncHTTPTransport(
        verify=_tls(),
        trust_env=False,
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=30.0),
        # Retries only the connect: a call that was sent is never sent again.
        retries=1,
        socket_options=_keepalive(),
    )
    return httpx2.AsyncClient(
        transport=_Guard(transport, api_key, max_answer_bytes),
        timeout=httpx2.Timeout(connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.pool),
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Returns the shared TLS context; building one takes 20 ms. SSL_CERT_FILE may add a private CA."""
    return httpx2.create_ssl_context(trust_env=True)


def _keepalive() -> list[tuple[int, int, int]]:
    """Returns socket options that probe after a minute of silence: NAT gateways drop a connection after two to six."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5)):
        option = getattr(socket, name, None)
        if option is not None:
            options.append((socket.IPPROTO_TCP, option, value))
    return options
