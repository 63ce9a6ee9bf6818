"""Renders every error in one shape: `{"error": {"message", "type", "param", "code"}}`, OpenAI's own.

Installed by api/main.py. What is not an AppError here is a bug or an outage of a store; neither is explained to the
caller beyond its request id.
"""

from typing import Annotated, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict

from api.http.fields import described
from api.http.json_response import json_response
from api.http.operations import Endpoint
from api.http.problems import explain
from core.db.faults import is_store_fault
from core.db.grouping import GrouperClosed, Overloaded
from core.domain.errors import (
    CODES,
    AppError,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    TooManyRequests,
    Unavailable,
)

# What a handler may raise to refuse; anything else is handled, and logged, by api/http/middleware.py.
REFUSALS: Final = (AppError, RequestValidationError, ValidationError, HTTPException, Overloaded, GrouperClosed)

log = structlog.get_logger(__name__)


class ErrorObject(TypedDict):
    """What is wrong. `message` may change; `code` keeps its meaning, and new ones may be added."""

    message: Annotated[str, described("What is wrong and what to do.", "model: is required.")]
    type: Annotated[str, described("The kind of error, by OpenAI's names.", "invalid_request_error")]
    param: Annotated[str | None, described("The first field, parameter or header that is wrong.", "model")]
    code: Annotated[str, described("What is wrong, for programs.", "invalid_parameter", values=sorted(CODES))]


def install(app: FastAPI) -> None:
    """Every refusal goes through `render`."""
    for kind in REFUSALS:
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    response = render(as_app_error(error))
    if response.status_code == 405:  # noqa: PLR2004 - the one status with an Allow
        response.headers["allow"] = ", ".join(sorted(_methods_of_path(request)))
    return response


def _methods_of_path(request: Request) -> set[str]:
    """Starlette names those of the first route of a path; a path has a route for each method."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Endpoint) and route.is_at(request.scope["path"]):
            methods |= route.methods or set()
    return methods


def as_app_error(error: Exception) -> AppError:
    """The error that the caller gets for `error`."""
    match error:
        case AppError():
            return error
        case ValidationError():
            return explain(error.errors(include_url=False, include_input=False), error.title)
        case RequestValidationError():
            return explain(error.errors())
        case HTTPException():
            return _http_error(error)
        case _:
            return _outage(error) or _bug()


def is_expected(error: Exception) -> bool:
    """Whether `error` is no bug: a refusal, or an outage of a store."""
    return type(as_app_error(error)) is not Internal


def _outage(error: Exception) -> AppError | None:
    match error:
        case Overloaded():
            return TooManyRequests("Too much is waiting to be stored; try again in a second.", retry_after=1.0)
        case GrouperClosed():
            return Unavailable("The server is shutting down; try again.", retry_after=1.0)
        case _ if is_store_fault(error):
            return Unavailable("The database can't be reached; try again.", retry_after=1.0)
        case _:
            return None


def _bug() -> Internal:
    return Internal("This is a bug of inferd. Report it with the x-request-id of this response.")


def _http_error(error: HTTPException) -> AppError:
    match error.status_code:
        case 404:
            return NotFound("There is no such path; /openapi.json lists those there are.")
        case 405:
            return MethodNotAllowed("This path does not take this method; the Allow header lists those that it takes.")
        case 413:
            return PayloadTooLarge("The body is too large.")
    return InvalidRequest(str(error.detail))


def render(error: AppError) -> Response:
    """The response for `error`."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if not error.retryable:
        # The openai SDK would repeat a 409 and some others by itself; a repeat of these can't help.
        headers["x-should-retry"] = "false"
    if error.status == 401:  # noqa: PLR2004 - the one status with a challenge
        headers["www-authenticate"] = "Bearer"
    return json_response({"error": error_object(error)}, error.status, headers)


def error_object(error: AppError) -> ErrorObject:
    """The inside of the shape."""
    return {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
