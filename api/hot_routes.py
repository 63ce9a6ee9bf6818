"""Submit and read one job, reached without FastAPI's router and dependency solver: nearly every request is one of them.

The functions are those of api/jobs/routes.py, with their arguments read by hand; FastAPI describes them, and
tests/api/test_hot_routes.py holds both ways against each other. Going FastAPI's way triples what a submit costs.
Installed by api/main.py, inside api/http/middleware.py.
"""

from collections.abc import Awaitable, Callable
from typing import Final, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.deps import job_id_of
from api.http.errors import REFUSALS, as_app_error, render
from api.http.strict_json import parse_object, read_body
from api.jobs import routes as jobs
from core.runtime import ApiRuntime

_COLLECTION: Final = "/v1/jobs"
_MEMBER: Final = f"{_COLLECTION}/job_"
_MEMBER_LENGTH: Final = len(_MEMBER) + 32


class HotRoutes:
    """Serves these two, and hands everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._submit = _route(jobs.submit)
        self._get = _route(jobs.get)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, method = scope["path"], scope["method"]
            if method == "POST" and path == _COLLECTION:
                await _serve(_submit, self._submit, scope, receive, send)
                return
            if method == "GET" and len(path) == _MEMBER_LENGTH and path.startswith(_MEMBER):
                await _serve(_get, self._get, scope, receive, send)
                return
        await self.app(scope, receive, send)


async def _serve(
    handle: Callable[[Request], Awaitable[Response]], route: APIRoute, scope: Scope, receive: Receive, send: Send
) -> None:
    # Where the metrics look for the route's name.
    scope["route"] = route
    try:
        response = await handle(Request(scope, receive))
    except REFUSALS as error:
        response = render(as_app_error(error))
    await response(scope, receive, send)


async def _submit(request: Request) -> Response:
    runtime, headers = cast(ApiRuntime, request.state.runtime), request.headers
    caller = await runtime.authenticator.authenticate(headers.get("authorization"))
    request.state.admission.admit(request.scope["state"], caller)
    body = parse_object(await read_body(request, runtime.settings.api.max_body_bytes))
    return await jobs.submit(
        request,
        runtime,
        request.state.admission,
        caller,
        body,
        request.state.request_id,
        prefer=headers.get("prefer"),
        idempotency_key=headers.get("idempotency-key"),
    )


async def _get(request: Request) -> Response:
    runtime, headers = cast(ApiRuntime, request.state.runtime), request.headers
    caller = await runtime.authenticator.authenticate(headers.get("authorization"))
    request.state.admission.admit(request.scope["state"], caller)
    return await jobs.get(
        request,
        runtime,
        request.state.admission,
        caller,
        job_id_of(request.scope["path"].removeprefix(f"{_COLLECTION}/")),
        wait=request.query_params.get("wait"),
        if_none_match=headers.get("if-none-match"),
    )


def _route(endpoint: Callable[..., object]) -> APIRoute:
    return next(route for route in jobs.router.routes if isinstance(route, APIRoute) and route.endpoint is endpoint)
