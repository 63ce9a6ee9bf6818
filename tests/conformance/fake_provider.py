"""An OpenAI-compatible server that misbehaves on request, on a real loopback socket.

The model's name says what happens (`ok`, `rate-limited`, `drop-before-headers`, …; an argument may follow a colon, as
in `drip:0.05`), and a ledger keeps every call with its headers, so a test can tell who was called, how often and by
which attempt. In a test: `async with FakeProvider() as fake`. As a process of its own, for load and chaos runs:
`python -m tests.conformance.fake_provider --port 9100`, which prints its base URL, answers GET /ledger with the calls
as JSON and forgets them on DELETE /ledger.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import time  # noqa: TID251 - compared with what was done to other processes, and when
from typing import Any, Self

from tests.conformance.fake_replies import BEHAVIOURS, Reply


@dataclass
class Call:
    """One request as it arrived. `outcome` is open, answered, unavailable or client_left; `over` is set when it is not
    open. `arrived_at` and `ended_at` are Unix seconds."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    outcome: str = "open"
    over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    arrived_at: float = field(default_factory=time)
    ended_at: float | None = None

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def job_id(self) -> str:
        return self.headers.get("x-inferd-job-id", "")

    @property
    def attempt(self) -> int:
        return int(self.headers.get("x-inferd-attempt", "0"))

    @property
    def run_no(self) -> int:
        return int(self.headers.get("x-inferd-run", "0"))

    def end(self, outcome: str) -> None:
        self.outcome = outcome
        self.ended_at = time()
        self.over.set()

    def row(self) -> dict[str, Any]:
        """What GET /ledger shows of it: neither the key nor the messages."""
        return {
            "number": self.number,
            "model": self.model,
            "job_id": self.job_id,
            "attempt": self.attempt,
            "run_no": self.run_no,
            "outcome": self.outcome,
        }


class FakeProvider:
    """The server and its ledger. `redirect_to` is where the behaviour `redirect` points."""

    def __init__(self, *, port: int = 0, redirect_to: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.calls: list[Call] = []
        self.redirect_to = redirect_to
        self.unavailable = False
        """While it is set, every new call is answered with 503, as by a gateway whose server restarts."""
        self._port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self._kept: socket.socket | None = None
        self._called = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, ssl=self._tls, backlog=4096)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        if self._kept is not None:
            self._kept.close()
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}/v1"

    def refuse(self) -> None:
        """Connections are refused from now on; calls that are open are answered. Until `accept_again`."""
        assert self._server is not None
        assert self._kept is None
        self._server.close()
        # Bound and not listening: it refuses, and nobody else gets the port meanwhile.
        self._kept = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", self._port))
        for writer in self._idle:
            writer.close()

    async def accept_again(self) -> None:
        assert self._kept is not None
        kept, self._kept = self._kept, None
        self._server = await asyncio.start_server(self._accept, sock=kept, ssl=self._tls, backlog=4096)

    def calls_of(self, job_id: str) -> list[Call]:
        return [call for call in self.calls if call.job_id == job_id]

    async def call(self, number: int = 0) -> Call:
        """Call `number` (from 0), as soon as it has arrived."""
        async with self._called:
            await self._called.wait_for(lambda: len(self.calls) > number)
        return self.calls[number]

    async def serve_forever(self) -> None:
        assert self._server is not None
        await self._server.serve_forever()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._talk(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other, until either side has enough."""
        self._idle.add(writer)
        try:
            async for method, path, headers, raw in _requests(reader):
                self._idle.discard(writer)
                reply = Reply(writer)
                if path == "/ledger":
                    await self._show_ledger(method, reply)
                    continue
                call = Call(len(self.calls), method, path, headers, json.loads(raw or b"{}"))
                async with self._called:
                    self.calls.append(call)
                    self._called.notify_all()
                if not await self._answer(call, reply, reader) or self._kept is not None:
                    break
                self._idle.add(writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._idle.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _answer(self, call: Call, reply: Reply, reader: asyncio.StreamReader) -> bool:
        """Runs the behaviour while watching for a client that hangs up. Whether the connection may be used again."""
        if self.unavailable:
            kept = await BEHAVIOURS["unavailable"](reply, call, self, "")
            call.end("unavailable")
            return kept
        name, _, argument = call.model.partition(":")
        behaviour = BEHAVIOURS.get(name, BEHAVIOURS["not-found"])
        answering = asyncio.ensure_future(behaviour(reply, call, self, argument))
        # A client that waits for its answer sends nothing: what can be read is the end of the connection.
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() or answering.exception() is not None:
                call.end("client_left")
                return False
            call.end("answered")
            return answering.result()
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _show_ledger(self, method: str, reply: Reply) -> None:
        if method == "DELETE":
            self.calls.clear()
        await reply.json({"calls": [call.row() for call in self.calls]})


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, str, dict[str, str], bytes]]:
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return
        first, *lines = head.split("\r\n")[:-2]
        method, path, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        yield method, path, headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A provider that misbehaves on request.")
    parser.add_argument("--port", type=int, default=0)
    async with FakeProvider(port=parser.parse_args().port) as fake:
        print(fake.base_url, flush=True)  # noqa: T201 - whoever started it reads the port from here
        await fake.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
