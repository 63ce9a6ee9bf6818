"""A webhook receiver on a real socket: verifies every request with the `standardwebhooks` package and keeps it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time  # noqa: TID251 - compared with what was done to other processes, and when
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

# What the receiver says to the nth request (from 1) that it could verify.
Answer = Callable[[int], web.Response]


@dataclass
class Received:
    """One verified request; `at` is when it arrived, in Unix seconds."""

    id: str
    event: dict[str, Any]
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time)


@dataclass
class Receiver:
    """Who was called back. `unverified` counts requests whose signature did not hold; `hold` answers in its own time."""

    url: str
    secret: str
    answer: Answer
    received: list[Received] = field(default_factory=list)
    unverified: int = 0
    hold: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            event = Webhook(self.secret).verify(body, headers)
        except Exception:  # noqa: BLE001 - whatever is wrong with it
            self.unverified += 1
            return web.Response(status=400)
        self.received.append(Received(headers["webhook-id"], event, headers, body))
        if self.hold is not None:
            return await self.hold(request)
        return self.answer(len(self.received))


@asynccontextmanager
async def receive(secret: str, answer: Answer = lambda _: web.Response(status=204)) -> AsyncIterator[Receiver]:
    """Listens on a free port of the loopback."""
    receiver = Receiver("", secret, answer)
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
