"""The worker's own /livez and /metrics, for probes and Prometheus. Off unless INFERD_WORKER_METRICS_PORT is set."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from core.observability.metrics import render
from core.process import CannotListen

_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def serve_health(port: int) -> AsyncIterator[None]:
    """Serves on every address until the block ends. Raises CannotListen."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
                status, body = _page(request[1] if len(request) > 1 else b"")
                head = f"HTTP/1.1 {status}\r\ncontent-type: {_TYPE}\r\ncontent-length: {len(body)}\r\n"
                writer.write(head.encode() + b"connection: close\r\n\r\n" + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, port=port)
    except OSError as error:
        raise CannotListen(f"port {port}", error, "INFERD_WORKER_METRICS_PORT") from None
    async with server:
        yield


def _page(path: bytes) -> tuple[str, bytes]:
    match path:
        case b"/metrics":
            return "200 OK", render()
        case b"/livez":
            return "200 OK", b"ok\n"
        case _:
            return "404 Not Found", b"not found\n"
