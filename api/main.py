"""The API's entry point: `inferd api`, or `python -m api.main` (`--openapi` prints the document and ends).

`create_app` is what uvicorn serves; tests and the reference open it too.
"""

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Final

import orjson
import uvicorn
from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from api import openapi
from api.http import errors
from api.http.connections import guarded
from api.http.middleware import RequestMiddleware
from api.jobs import bulk_routes, event_routes
from api.jobs import routes as job_routes
from api.lifespan import OpenRuntime, lifespan
from api.openai import model_routes
from api.ops import health
from api.webhooks import delivery_routes, endpoint_routes, secret_routes
from core.process import CannotListen, check_address, run_process
from core.runtime import open_api
from core.settings import Settings, load_settings
from core.version import VERSION

# In this order they are matched: the busiest first, and `/v1/jobs/bulk` before `/v1/jobs/{job_id}`.
_ROUTES: Final = (
    bulk_routes,
    job_routes,
    event_routes,
    model_routes,
    endpoint_routes,
    delivery_routes,
    secret_routes,
    health,
)
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Api(FastAPI):
    """FastAPI behind our own layer, and without those of its own that would do nothing here."""

    def build_middleware_stack(self) -> ASGIApp:
        """Starlette's hook for it. Our outermost layer is the last resort that ServerErrorMiddleware would be."""
        routes = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=self.exception_handlers)
        return RequestMiddleware(routes)


def create_app(open_runtime: OpenRuntime) -> FastAPI:
    """The application; `open_runtime` is called when it starts."""
    app = Api(
        title="inferd",
        version=VERSION,
        description=openapi.DESCRIPTION,
        lifespan=lifespan(open_runtime),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    for module in _ROUTES:
        # Flat: FastAPI's include_router would match in two steps, and 405 could not name every method of a path.
        app.router.routes.extend(module.router.routes)
    openapi.describe(app)
    return app


class ApiServer(uvicorn.Server):
    """uvicorn that ends long polls with the job as it is when the process stops, and exits with 0."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises CannotListen where uvicorn would end the process."""
        try:
            await super().startup(sockets)
        except SystemExit as ended:
            if not isinstance(ended.__context__, OSError):
                raise
            address = f"{self.config.host}:{self.config.port}"
            raise CannotListen(address, ended.__context__, "INFERD_API_PORT") from None

    def stop(self) -> None:
        """Serves the requests that are open, then ends."""
        runtime = getattr(self.config.app.state, "runtime", None)  # type: ignore[union-attr]  # it is our FastAPI
        if runtime is not None:
            runtime.watch.close()
        self.should_exit = True


def make_server(app: FastAPI, settings: Settings) -> ApiServer:
    """Built, not yet listening."""
    return ApiServer(
        uvicorn.Config(
            app,
            host=settings.api.host,
            port=settings.api.port,
            http=guarded(settings.api),
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(settings.api.shutdown_seconds)),
        )
    )


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises CannotListen."""
    # Before PostgreSQL is waited for, and before uvicorn logs a start that does not succeed.
    check_address(settings.api.host, settings.api.port, "INFERD_API_PORT")
    async with open_api(settings) as runtime:
        await make_server(create_app(lambda: nullcontext(runtime)), settings).serve()


def main() -> int:
    """Returns the exit code (core/process.py)."""
    parser = argparse.ArgumentParser(prog="python -m api.main")
    parser.add_argument("--openapi", action="store_true", help="print the OpenAPI document and end")
    if parser.parse_args().openapi:
        app = create_app(lambda: open_api(load_settings()))
        sys.stdout.buffer.write(orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2) + b"\n")
        return 0
    return run_process("api", serve)


if __name__ == "__main__":
    sys.exit(main())
