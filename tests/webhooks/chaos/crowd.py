"""Receivers that misbehave by a seed, verify every signature, and write down what they were told."""

import asyncio
import hashlib
import struct
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from socket import SO_LINGER, SOL_SOCKET
from time import time
from typing import Final

import orjson
from standardwebhooks import Webhook

GOOD: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
BAD: Final = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True)
class Faults:
    """How often a request is answered with 500, not at all, by a reset, or by a drip: shares of 1."""

    error: float = 0.0
    silence: float = 0.0
    reset: float = 0.0
    drip: float = 0.0

    def of(self, seed: int, webhook_id: str, time_no: int) -> str:
        """The same for the same request, whatever else happens."""
        drawn = hashlib.sha256(f"{seed} {webhook_id} {time_no}".encode()).digest()
        place = struct.unpack("!Q", drawn[:8])[0] / 2**64
        for name in ("error", "silence", "reset", "drip"):
            place -= getattr(self, name)
            if place < 0:
                return name
        return "good"


@dataclass(frozen=True)
class Arrival:
    """A request that was answered with 2xx."""

    job_id: str
    webhook_id: str
    at: float
    delay: float


@dataclass
class Crowd:
    """Receivers on one port of many addresses. `secrets` names who may sign for a path; `dead` hosts are silent."""

    seed: int
    faults: Faults = Faults()
    port: int = 0
    secrets: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    arrivals: list[Arrival] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    asked: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    sending: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)
    unverified: int = 0
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def url(self, host: str, path: str) -> str:
        return f"http://{host}:{self.port}/{path}"

    async def open(self, host: str) -> None:
        """Takes connections on the address from now on."""
        server = await asyncio.start_server(self._take, host, self.port or None)
        self._stack.callback(server.close)
        self.port = server.sockets[0].getsockname()[1]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        host = str(writer.get_extra_info("sockname")[0])
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError), closing(writer):
            while not writer.is_closing() and (head := await reader.readuntil(b"\r\n\r\n")):
                lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
                body = await reader.readexactly(int(headers["content-length"]))
                self.sending[host] += 1
                self.most_at_once[host] = max(self.most_at_once[host], self.sending[host])
                try:
                    await self._answer(reader, writer, (host, lines[0].split()[1].lstrip("/")), headers, body)
                finally:
                    self.sending[host] -= 1

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        where: tuple[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        arrived, (host, path) = time(), where
        try:
            Webhook(self.secrets[path]).verify(body, headers)
        except Exception:  # noqa: BLE001 - whatever is wrong with it
            self.unverified += 1
            writer.write(BAD)
            return
        event, webhook_id = orjson.loads(body), headers["webhook-id"]
        job_id = str(event["data"]["job_id"])
        self.ids[job_id].add(webhook_id)
        self.asked[webhook_id] += 1
        fault = "silence" if host in self.dead else self.faults.of(self.seed, webhook_id, self.asked[webhook_id])
        self.answers[fault] += 1
        if fault == "good":
            said = datetime.fromisoformat(event["timestamp"]).timestamp()
            self.arrivals.append(Arrival(job_id, webhook_id, arrived, arrived - said))
            writer.write(GOOD)
        else:
            await _misbehave(reader, writer, fault)

    async def close(self) -> None:
        await self._stack.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _misbehave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: str) -> None:
    """Until the other side has had enough."""
    match fault:
        case "error":
            writer.write(BAD)
        case "reset":
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        case "drip":
            gone = asyncio.create_task(_until_gone(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nx: ")
            while not gone.done():
                writer.write(b"x")
                await asyncio.wait({gone}, timeout=0.1)
            writer.close()
        case _:
            await _until_gone(reader)
            writer.close()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    # A sender that is killed leaves by a reset.
    with suppress(ConnectionError):
        await reader.read()


@asynccontextmanager
async def open_crowd(seed: int, faults: Faults | None = None) -> AsyncIterator[Crowd]:
    crowd = Crowd(seed, faults or Faults())
    try:
        yield crowd
    finally:
        await crowd.close()
