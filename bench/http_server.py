"""A small HTTP/1.1 server for the mock provider and the webhook receiver.

Every request gets what its handler returns, after a delay if there is one. Scenarios use it to know when a call
arrives; so does bench/baselines/mock_provider.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

# Takes the head and the body of a request, returns the bytes of a response.
Handler = Callable[[bytes, bytes], bytes]

_END_OF_HEAD = b"\r\n\r\n"
_CLOSE = b"\r\nconnection: close"


class _Exchange(asyncio.Protocol):
    def __init__(self, handler: Handler, delay: float) -> None:
        self._handler = handler
        self._delay = delay
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(_END_OF_HEAD)) >= 0:
            head = bytes(self._received[:end]).lower()
            whole = end + len(_END_OF_HEAD) + _content_length(head)
            if len(self._received) < whole:
                return
            body = bytes(self._received[end + len(_END_OF_HEAD) : whole])
            del self._received[:whole]
            self._answer(self._handler(head, body), closes=_CLOSE in head)

    def _answer(self, answer: bytes, *, closes: bool) -> None:
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._write, answer, closes)
        else:
            self._write(answer, closes)

    def _write(self, answer: bytes, closes: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)
            if closes:
                self._transport.close()


def answer(body: bytes, *, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """Returns the bytes of a response."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def serve(handler: Handler, *, port: int = 0, delay: float = 0.0) -> AsyncIterator[int]:
    """Listens on loopback; yields the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Exchange(handler, delay), "127.0.0.1", port, backlog=4096)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _content_length(head: bytes) -> int:
    start = head.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    stop = head.find(b"\r\n", start + 2)
    return int(head[start + len("\r\ncontent-length:") : stop if stop > 0 else None])
