"""The API and a worker in this process: the real application on a real socket, the real lifecycle, stopped cleanly."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import uvicorn

from api.http.open_requests import OpenRequests
from api.main import ApiServer, create_app, make_server
from core.runtime import ApiRuntime, WorkerRuntime, open_api, open_worker
from core.settings import Settings
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from worker import lifecycle


@dataclass(frozen=True)
class RunningApi:
    """An API that serves. `runtime` is its own, for tests that look inside."""

    url: str
    settings: Settings
    runtime: ApiRuntime
    open_requests: OpenRequests
    server: ApiServer

    @asynccontextmanager
    async def client(self, tenant: Tenant | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """An HTTP client with the tenant's key, or with none."""
        headers = tenant.authorization if tenant else {}
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30, trust_env=False) as client:
            yield client


@asynccontextmanager
async def serve_api(settings: Settings) -> AsyncIterator[RunningApi]:
    """api.main's application behind uvicorn on a free port of the loopback. Stopping takes 0.2 s."""
    app = create_app(lambda: open_api(settings))
    # Named as TCP: asyncio sets TCP_NODELAY only then, and Nagle would add 40 ms to every answer.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        host, port = listener.getsockname()
        server = make_server(app, settings)
        serving = asyncio.create_task(_serve(server, listener), name="api")
        try:
            await eventually(lambda: server.started or serving.done(), what="the API starts")
            if not serving.done():
                yield RunningApi(f"http://{host}:{port}", settings, app.state.runtime, app.state.open_requests, server)
        finally:
            server.stop()
            await serving


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    try:
        # Not `serve`, which would take SIGINT away from pytest.
        await server._serve([listener])
    except SystemExit:
        raise RuntimeError("the API did not start; its log says why") from None


@dataclass(frozen=True)
class RunningWorker:
    """A worker that serves until `stop`."""

    settings: Settings
    runtime: WorkerRuntime
    _stopped: asyncio.Event
    _running: "asyncio.Task[None]"

    async def stop(self) -> None:
        """As SIGTERM does: drains, then ends. Raises what the worker raised."""
        self._stopped.set()
        await self._running


@asynccontextmanager
async def run_worker(settings: Settings) -> AsyncIterator[RunningWorker]:
    """worker.lifecycle on a runtime of its own."""
    async with open_worker(settings) as runtime:
        stopped = asyncio.Event()
        running = asyncio.create_task(lifecycle.run(runtime, stopped), name="worker")
        worker = RunningWorker(settings, runtime, stopped, running)
        try:
            yield worker
        finally:
            await worker.stop()
