"""`inferd webhooks listen`: a receiver on this machine that verifies, prints and forwards webhooks.

Without --secret it registers an endpoint while it runs, and deletes it when it ends.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import aiohttp
import orjson
from aiohttp import web

from cli.client.http import ApiClient, ApiFailed, parse_url
from cli.client.target import find_target
from cli.configuration import storeless_settings
from cli.exit_codes import CommandFailed, ExitCode
from cli.signals import run_until_stopped
from cli.terminal import progress, results
from cli.webhooks.signature import problem_with, time_now

_PATH: Final = "/hook"
_FORWARD_SECONDS: Final = 15.0
_HANDED_ON: Final = ("content-type", "webhook-id", "webhook-timestamp", "webhook-signature", "user-agent")


@dataclass(frozen=True)
class Listening:
    """The options of the command."""

    forward: str | None
    events: tuple[str, ...]
    port: int
    public_url: str | None
    secret: str | None
    count: int | None
    as_json: bool


@dataclass
class _Receiver:
    """Returns 204 for a verified webhook, or the response to its forwarding; 400 for one that is not verified."""

    wanted: Listening
    http: aiohttp.ClientSession
    secret: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    taken: int = 0
    shown: int = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        problem = problem_with(self.secret, headers, body, now=time_now())
        if problem is not None:
            progress().print(f"Refused a request: {problem}")
            return web.Response(status=400)
        if self.taken == self.wanted.count:
            # The last one is still being forwarded; inferd will send this one again.
            return web.Response(status=503)
        self.taken += 1
        answer = await self._answer(headers, body)
        self._show(headers, body, answer.status)
        self.shown += 1
        if self.shown == self.wanted.count:
            self.ended.set()
        return answer

    async def _answer(self, headers: Mapping[str, str], body: bytes) -> web.Response:
        if self.wanted.forward is None:
            return web.Response(status=204)
        handed = {name: headers[name] for name in _HANDED_ON if name in headers}
        try:
            async with self.http.post(self.wanted.forward, data=body, headers=handed) as answer:
                return web.Response(status=answer.status, body=await answer.read())
        except (aiohttp.ClientError, OSError) as error:
            progress().print(f"{self.wanted.forward} did not respond ({type(error).__name__}).")
            return web.Response(status=502)

    def _show(self, headers: Mapping[str, str], body: bytes, status: int) -> None:
        event: dict[str, Any] = orjson.loads(body)
        if self.wanted.as_json:
            results().print(orjson.dumps(event).decode(), soft_wrap=True)
            return
        time = datetime.now().astimezone().strftime("%H:%M:%S")
        handed = "" if self.wanted.forward is None else f"  → {status}"
        about = event.get("data", {}).get("id", "")
        results().print(f"{time}  {event.get('type')}  {about}  {headers['webhook-id']}{handed}", soft_wrap=True)


def listen(wanted: Listening, *, api_url: str | None, api_key: str | None) -> ExitCode:
    """OK after as many as were asked for, INTERRUPTED by Ctrl-C. Raises CommandFailed."""
    if wanted.forward is not None:
        parse_url(wanted.forward, "--forward", "http://127.0.0.1:3000/webhooks")
    target = None if wanted.secret else find_target(storeless_settings(), api_url, api_key)
    ended = run_until_stopped(_listen(wanted, target), lambda: progress().print("Stopping."))
    return ExitCode.INTERRUPTED if ended is None else ended


async def _listen(wanted: Listening, target: tuple[str, str] | None) -> ExitCode:
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=_FORWARD_SECONDS)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        receiver = _Receiver(wanted, http, wanted.secret or "")
        url = await stack.enter_async_context(_serve(receiver))
        said = f"Listening on {url}"
        if target is not None:
            api = await stack.enter_async_context(ApiClient(*target))
            endpoint = await _register(api, wanted, wanted.public_url or url)
            stack.push_async_callback(_delete, api, endpoint["id"])
            receiver.secret = endpoint["signing_secret"]
            said += f" as {endpoint['id']}, for {', '.join(endpoint['event_types'])}"
        progress().print(f"{said}. Ctrl-C ends it.", soft_wrap=True)
        await receiver.ended.wait()
    return ExitCode.OK


async def _register(api: ApiClient, wanted: Listening, url: str) -> dict[str, Any]:
    events = list(wanted.events) or (await api.ask("GET", "/v1/webhook_event_types"))["data"]
    body = {"name": "inferd webhooks listen", "url": url, "event_types": events}
    try:
        return await api.ask("POST", "/v1/webhook_endpoints", body)
    except ApiFailed as failed:
        if failed.code != "invalid_webhook_url":
            raise
        raise CommandFailed(
            f"inferd may not call {url} ({failed.message}) Give a --public-url that leads here, or let it call this "
            "machine: INFERD_WEBHOOK_ALLOW_HTTP=true and INFERD_WEBHOOK_ALLOW_CIDRS='[\"127.0.0.0/8\"]'.",
            ExitCode.USAGE,
        ) from None


async def _delete(api: ApiClient, endpoint_id: str) -> None:
    try:
        await api.ask("DELETE", f"/v1/webhook_endpoints/{endpoint_id}")
    except ApiFailed as failed:
        progress().print(f"{endpoint_id} is still registered: {failed.message}")


@asynccontextmanager
async def _serve(receiver: _Receiver) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_post(_PATH, receiver.take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", receiver.wanted.port).start()
        except OSError as error:
            raise CommandFailed(f"Port {receiver.wanted.port} can't be listened on: {error.strerror}.") from None
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}{_PATH}"
    finally:
        await runner.cleanup()
