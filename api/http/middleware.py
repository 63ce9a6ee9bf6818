"""Around every request, in pure ASGI: its id, its log line, its metrics, security headers, and the last resort.

Installed by api/main.py. An incoming x-request-id is kept when it is harmless, so that a caller can find its own.
"""

import re
import time
from collections.abc import Iterable
from typing import Final

import sentry_sdk
import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import as_app_error, render
from core.domain.errors import Internal, InvalidRequest
from core.domain.ids import REQUEST, new_uuid, show
from core.observability.context import bound
from core.observability.metrics import HTTP_REQUESTS, observe

_SAFE_ID: Final = re.compile(r"[\w.-]{1,128}", re.ASCII)
_QUIET: Final = frozenset({"/livez", "/readyz", "/metrics"})
_SECURITY: Final[Iterable[tuple[bytes, bytes]]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)

log = structlog.get_logger(__name__)


class RequestMiddleware:
    """The outermost layer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SAFE_ID.fullmatch(given) else show(REQUEST, new_uuid())
        scope.setdefault("state", {})["request_id"] = request_id
        with bound(request_id=request_id):
            await self._serve(scope, receive, send, request_id)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = time.perf_counter()
        status = 0

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"], (b"x-request-id", request_id.encode()), *_SECURITY
                ]  # fmt: skip
            await send(message)

        try:
            if b"%00" in scope["query_string"]:
                raise InvalidRequest("The query string has a NUL character (%00); remove it.")  # noqa: TRY301 - as any route
            await self.app(scope, receive, tagged)
        except Exception as error:
            if status:
                raise
            refusal = as_app_error(error)
            if isinstance(refusal, Internal):
                log.exception("request_crashed", path=scope["path"])
                sentry_sdk.capture_exception(error)
            else:
                log.warning("request_failed", path=scope["path"], error=type(error).__name__)
            await render(refusal)(scope, receive, tagged)
        finally:
            if (open_requests := scope["state"].get("open_requests")) is not None:
                open_requests.leave(scope["state"])
            self._note(scope, status, time.perf_counter() - started)

    @staticmethod
    def _note(scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        observe(HTTP_REQUESTS, seconds, scope["method"], route, str(status))
        if scope["path"] not in _QUIET:
            log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))
