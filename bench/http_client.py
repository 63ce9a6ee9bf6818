"""A small HTTP/1.1 client that uses little CPU, which is left for what is measured.

Requests are prepared bytes on persistent connections; a response is its status and its body. It requires a
content-length, which the measured servers send. The scenarios use it for inferd and for the baselines.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import orjson

_END_OF_HEAD = b"\r\n\r\n"


class Answer(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


class Connection(asyncio.Protocol):
    """A connection that sends one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        head = bytes(self._received[:end])
        length = _content_length(head)
        whole = end + len(_END_OF_HEAD) + length
        if len(self._received) < whole or self._answer is None or self._answer.done():
            return
        body = bytes(self._received[end + len(_END_OF_HEAD) : whole])
        del self._received[:whole]
        self._answer.set_result(Answer(int(head[9:12]), body))

    async def send(self, request: bytes) -> Answer:
        """Returns the response. Raises ConnectionError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Target(NamedTuple):
    """Where requests go, and with which headers."""

    host: str
    port: int
    headers: Mapping[str, str]

    def request(self, method: str, path: str, body: object = None, **headers: str) -> bytes:
        """Returns the bytes of a request, which can be sent any number of times. `prefer="wait=5"` is a header."""
        content = b"" if body is None else orjson.dumps(body)
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in {**self.headers, **headers}.items()]
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(content)}"]
        return "\r\n".join([*lines, "", ""]).encode() + content


@asynccontextmanager
async def connect(target: Target, count: int) -> AsyncIterator[Sequence[Connection]]:
    """Yields `count` open connections."""
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    try:
        for _ in range(count):
            _, connection = await loop.create_connection(Connection, target.host, target.port)
            connections.append(connection)
        yield connections
    finally:
        for connection in connections:
            connection.close()


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    stop = lowered.find(b"\r\n", start + 2)
    return int(lowered[start + len("\r\ncontent-length:") : stop if stop > 0 else None])
