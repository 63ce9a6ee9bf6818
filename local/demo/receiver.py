"""A webhook receiver, as an application would have one: verifies each signature with `standardwebhooks`.

Used by `inferd demo`. Runs in the command's own process, on a free port of the loopback.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

_PATH: Final = "/hook"


@dataclass(frozen=True)
class Received:
    """A webhook with a valid signature."""

    event: str
    job_id: str


@dataclass
class Receiver:
    """The webhooks received so far. `refused` counts requests without a valid signature."""

    url: str
    _verifier: Webhook
    _received: dict[str, Received] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    refused: int = 0

    def of(self, job_id: str) -> Received | None:
        """Returns the webhook of a job, or None before it has arrived."""
        return self._received.get(job_id)

    async def wait_for(self, job_id: str) -> Received:
        while (received := self._received.get(job_id)) is None:
            self._news.clear()
            await self._news.wait()
        return received

    async def take(self, request: web.Request) -> web.Response:
        """Returns 204 for a valid signature and 400 for any other."""
        body = await request.read()
        try:
            event = self._verifier.verify(body, dict(request.headers))
            received = Received(event["type"], event["data"]["job_id"])
        except (WebhookVerificationError, ValueError, KeyError, TypeError):
            self.refused += 1
            return web.Response(status=400)
        self._received[received.job_id] = received
        self._news.set()
        return web.Response(status=204)


@asynccontextmanager
async def run_receiver(secret: str) -> AsyncIterator[Receiver]:
    """Listens until the block ends."""
    receiver = Receiver("", Webhook(secret))
    application = web.Application()
    application.router.add_post(_PATH, receiver.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        receiver.url = f"http://{host}:{port}{_PATH}"
        yield receiver
    finally:
        await runner.cleanup()
