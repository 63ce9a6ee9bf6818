"""What FastAPI can't see by itself, because bodies are read strictly and answers are made by orjson.

`body_of` and `answers` describe a route; `describe` adds the bodies and the error shape to the document.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.webhooks.schemas.events import webhook_documents
from core.domain.errors import CODES

_BODIES: Final[dict[str, type[BaseModel]]] = {}
_REF: Final = "#/components/schemas/{model}"
_STATUSES: Final = {
    400: "The body is not strict JSON.",
    401: "No good API key.",
    404: "No such resource.",
    422: "A field is wrong.",
    429: "Too much is waiting.",
    503: "The database is out of reach.",
}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong and what to do."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string", "enum": sorted(CODES)},
            },
        }
    },
}


def body_of(schema: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads such a body."""
    _BODIES[schema.__name__] = schema
    reference = {"$ref": _REF.format(model=schema.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def answers(view: Any, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers with `view`, or with an error."""
    error = {"content": {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}}
    good: dict[int | str, dict[str, Any]] = {status: {"model": view} for status in statuses}
    return good | {status: {"description": text, **error} for status, text in _STATUSES.items()}


def describe(app: FastAPI) -> None:
    """Makes `app.openapi()` whole."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components = made.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                components.pop(name, None)
            _, bodies = models_json_schema([(schema, "validation") for schema in _BODIES.values()], ref_template=_REF)
            made["webhooks"], events = webhook_documents()
            components.update(bodies["$defs"], **events, Error=_ERROR)
            made["components"]["securitySchemes"] = {"api_key": {"type": "http", "scheme": "bearer"}}
            made["security"] = [{"api_key": []}]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to change the document
