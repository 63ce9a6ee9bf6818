"""Receivers that misbehave at the level of the socket: each says with bytes, or without, how."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

Behaviour = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One connection on which a whole request has come."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: bytes

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """RST instead of FIN."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class RawReceiver:
    """`connections` is everybody who connected, `exchanges` those whose whole request came."""

    behave: Behaviour
    port: int = 0
    connections: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def url(self, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/hook"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError), closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                exchange = Exchange(reader, writer, head + await reader.readexactly(length))
                self.exchanges.append(exchange)
                await self.behave(exchange)


@asynccontextmanager
async def receive_raw(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawReceiver]:
    """Listens on a free port of the loopback."""
    receiver = RawReceiver(behave)
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in receiver._tasks:
            task.cancel()
        await asyncio.gather(*receiver._tasks, return_exceptions=True)


def answering(status: str, *headers: str, body: bytes = b"") -> Behaviour:
    """Answers like a server."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]

    async def behave(exchange: Exchange) -> None:
        await exchange.send("\r\n".join(lines).encode() + body)

    return behave


def saying(*parts: bytes, end: str = "close") -> Behaviour:
    """Sends the bytes and then closes, resets, or hangs."""

    async def behave(exchange: Exchange) -> None:
        for part in parts:
            await exchange.send(part)
        match end:
            case "close":
                exchange.writer.close()
            case "reset":
                exchange.reset()
            case _:
                await asyncio.Event().wait()

    return behave


def repeating(start: bytes, part: bytes, pause: float = 0.0) -> Behaviour:
    """Never ends."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(start)
        while not exchange.writer.is_closing():
            await exchange.send(part)
            await asyncio.sleep(pause)

    return behave
