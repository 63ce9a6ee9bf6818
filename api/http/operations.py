"""How a route is written: a handler that takes the request, and `operation(…)`, its entry in the OpenAPI document.

    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Endpoint)

    @router.get("/{job_id}", **operation("jobs_get", "Get a job", returns={200: Returns(JobView, "The job.")}))
    async def get(request: Request) -> Response:
        call = await admit(request)

FastAPI routes to the handler and describes it; its dependency solver, which would triple the cost of a submit, has
nothing to do. The document is made whole by api/openapi.py.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import Match
from starlette.types import Scope

REF: Final = "#/components/schemas/{model}"
_HEADER_REF: Final = "#/components/headers/{name}"
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_ERRORS: Final[Mapping[int, str]] = {
    400: "The request can't be read: the body is not strict JSON, or a header or the query string is malformed.",
    401: "The API key is missing, malformed, unknown, revoked or expired.",
    404: "There is no such resource, or it belongs to another tenant.",
    408: "The body did not arrive in time.",
    409: "The resource is not in a state that allows this.",
    410: "The resource was deleted, or what this Idempotency-Key created was.",
    413: "The body is too large.",
    422: "A field or a query parameter is missing, unknown or wrong; the message says what.",
    424: "The receiver did not respond, or no worker has sent the event yet; the message says which.",
    429: "Too many requests of this tenant are open, or too many jobs are waiting to be stored.",
    500: "The stored job can't be read: another master key, or damage (`job_unreadable`).",
    503: "PostgreSQL can't be reached, or the server is shutting down.",
}
_WITH_KEY: Final = (400, 401, 422, 429, 503)
_RETRY_HEADERS: Final = ("x-request-id", "retry-after")
_ERROR_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("x-request-id", "x-should-retry", "www-authenticate"),
    # Sent by api/http/connections.py, which knows no requests.
    408: ("retry-after",),
    429: _RETRY_HEADERS,
    503: _RETRY_HEADERS,
}
_BODIES: Final[dict[str, type[BaseModel]]] = {}
_OPERATIONS: Final[dict[str, "Operation"]] = {}
_FIXED_PATHS: Final[set[str]] = set()


@dataclass(frozen=True, slots=True)
class Returns:
    """A successful response: `view` is the shape of its JSON, or with a `media_type` it is text."""

    view: Any
    description: str
    headers: tuple[str, ...] = ()
    media_type: str | None = None
    schema: Mapping[str, Any] | None = None
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """What api/http/admission.py looks at. `query` is None where there is none."""

    id: str
    query: type[BaseModel] | None = None
    takes_idempotency_key: bool = False


_NOTHING: Final = Operation("")


class Endpoint(APIRoute):
    """A route whose handler takes the request. `operation` is its entry."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.operation = _OPERATIONS.get(self.operation_id or "", _NOTHING)
        if "{" not in self.path:
            _FIXED_PATHS.add(self.path)

    def is_at(self, path: str) -> bool:
        """Whether this is a route of `path`; `/v1/jobs/bulk` is never the job named bulk."""
        return path == self.path or (path not in _FIXED_PATHS and self.path_regex.match(path) is not None)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if self.is_at(scope["path"]) else (Match.NONE, {})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's hook: what it calls with the request."""
        return self.endpoint


def operation(
    name: str,
    summary: str,
    *,
    returns: Mapping[int, Returns],
    errors: Sequence[int] = (),
    body: type[BaseModel] | None = None,
    parts: Sequence[type[BaseModel]] = (),
    query: type[BaseModel] | None = None,
    headers: Sequence[tuple[str, str, str]] = (),
    idempotent: bool = False,
    public: bool = False,
) -> dict[str, Any]:
    """The arguments of `@router.get(…)` for the operation `name`; its handler's docstring is its description.

    `errors` are besides those of every route that wants a key, and of every route with a body; a `public` route has
    only its own. `parts` are shapes that `body` names and does not have. `headers` are those that the handler reads:
    name, description, example.
    """
    _OPERATIONS[name] = Operation(name, query, idempotent)
    extra: dict[str, Any] = {}
    described = [_header(*each) for each in headers]
    if idempotent:
        described.append({"$ref": "#/components/parameters/IdempotencyKey"})
    if query is not None:
        described.extend(_query_parameters(query))
    if described:
        extra["parameters"] = described
    if body is not None:
        _BODIES.update({each.__name__: each for each in (body, *parts)})
        extra["requestBody"] = _body_of(body)
    if public:
        extra["security"] = []
    statuses = {*errors, *(() if public else _WITH_KEY), *((408, 413) if body else ())}
    responses: dict[int | str, dict[str, Any]] = {status: _described(each) for status, each in returns.items()}
    responses |= {status: _error(status) for status in sorted(statuses)}
    return {
        "operation_id": name,
        "summary": summary,
        "status_code": next(iter(returns)),
        "response_description": next(iter(returns.values())).description,
        "response_class": Response,
        "responses": responses,
        "openapi_extra": extra,
    }


def bodies() -> Sequence[type[BaseModel]]:
    """The shapes of every body, for the document."""
    return list(_BODIES.values())


def _body_of(schema: type[BaseModel]) -> dict[str, Any]:
    return {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": REF.format(model=schema.__name__)}}},
    }


def _described(returns: Returns) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": returns.description,
        "headers": _headers("x-request-id", *returns.headers),
    }
    if returns.media_type is not None:
        content: dict[str, Any] = {"schema": dict(returns.schema or {"type": "string"})}
        if returns.example is not None:
            content["example"] = returns.example
        response["content"] = {returns.media_type: content}
    elif returns.view is not None:
        response["model"] = returns.view
        response["content"] = {"application/json": {}}
    return response


def _error(status: int) -> dict[str, Any]:
    schema = {"$ref": REF.format(model="Error")}
    return {
        "description": _ERRORS[status],
        "headers": _headers(*_ERROR_HEADERS.get(status, ("x-request-id", "x-should-retry"))),
        "content": {"application/json": {"schema": schema}},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": _HEADER_REF.format(name=name)} for name in names}


def _header(name: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {
        "name": name, "in": "header", "required": False, "description": description, "schema": schema,
        "example": example,
    }  # fmt: skip


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    shared = schema.get("$defs", {})
    return [
        _query_parameter(name, _plain(field, shared), required=name in schema.get("required", ()))
        for name, field in schema["properties"].items()
    ]


def _query_parameter(name: str, schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    described = {
        "name": name,
        "in": "query",
        "required": required,
        "description": schema.pop("description", ""),
        "schema": schema,
    }
    examples = schema.pop("examples", [])
    if examples:
        described["example"] = examples[0]
    schema.pop("title", None)
    if schema.get("type") == "object":
        described |= {"style": "deepObject", "explode": True}
    return described


def _plain(schema: dict[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` without references, and without the null that stands for a parameter that is left out."""
    if "$ref" in schema:
        return {**shared[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}
    if "items" in schema:
        schema = {**schema, "items": _plain(schema["items"], shared)}
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
        return {**_plain(options[0], shared), **rest}
    return schema
