"""The OpenAPI document: FastAPI's, and what it can't know by itself, because bodies are read and written by hand.

Each route's own entry is made by api/http/operations.py; here are the parts that all share.
"""

import re
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api.http.ids import NAMES, PATH_PARAMETERS
from api.http.operations import IDEMPOTENCY_KEY, REF, bodies
from api.webhooks.schemas.events import webhook_documents

DESCRIPTION: Final = (
    "Submit slow model calls over REST and get an id at once; every accepted job is finished, stored and reported, "
    "even if processes die."
)
_TAGS: Final = {
    "jobs": "A job is one request to a model. Submit it, then poll, wait, follow its events or be called back.",
    "models": "Which models a job may name.",
    "webhooks": "Endpoints that are called when jobs end, and the deliveries to them.",
    "health": "For probes and Prometheus; no API key.",
}
_HEADERS: Final = {
    "x-request-id": (
        "The request's id, as in the logs: the `x-request-id` that was sent, if it is valid, else a new one.",
        "req_019ab3c4",
    ),
    "location": ("The URL of the new resource.", "/v1/jobs/job_019ab3c4d5e67f8090a1b2c3d4e5f607"),
    "etag": ("Changes whenever the job does; send it back as `If-None-Match`.", 'W/"3"'),
    "retry-after": ("Seconds to wait before the next request.", "1"),
    "preference-applied": ("The `wait` that was used.", "wait=20"),
    "idempotency-replayed": ("`true`: an earlier request with this Idempotency-Key created it.", "true"),
    "www-authenticate": ("How to authenticate.", "Bearer"),
    "x-should-retry": ("`false`: sending the same request again can't help.", "false"),
}
_ERROR: Final = {
    "type": "object",
    "description": "Every error response.",
    "required": ["error"],
    "properties": {"error": {"$ref": REF.format(model="ErrorObject"), "description": "What is wrong."}},
}
_IDEMPOTENCY_KEY: Final = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "required": False,
    "description": "1 to 255 ASCII characters from `!` to `~`, so no spaces. A request with the same key and body "
    "within 24 hours (by default) creates nothing and returns what the first request created. The same key with "
    "another body is refused. For a bulk submit this holds for each job by itself: its key is this one with its index.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]{1,255}$"},
    "example": "order-4711",
}
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


def describe(app: FastAPI) -> None:
    """Makes `app.openapi()` whole."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to change the document


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _, read = models_json_schema([(schema, "validation") for schema in bodies()], ref_template=REF)
    made["webhooks"], events = webhook_documents()
    schemas.update(read["$defs"], **events, Error=_ERROR)
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string"}, "example": example}
        for name, (text, example) in _HEADERS.items()
    }
    components["parameters"] = {"IdempotencyKey": _IDEMPOTENCY_KEY}
    components["securitySchemes"] = {
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "`Authorization: Bearer inf_live_…`; made with `inferd keys create`.",
        }
    }
    for path, methods in made["paths"].items():
        for entry in methods.values():
            _name_path_parameters(path, entry)
    return {
        "openapi": made["openapi"],
        "info": made["info"],
        "servers": [{"url": "/", "description": "The server that this document comes from."}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{"api_key": []}],
        **made,
    }


def _name_path_parameters(path: str, entry: dict[str, Any]) -> None:
    parameters = entry.setdefault("parameters", [])
    known = {each.get("name") for each in parameters}
    for name in reversed(_PATH_PARAMETER.findall(path)):
        if name not in known:
            prefix = PATH_PARAMETERS[name]
            parameters.insert(
                0,
                {
                    "name": name,
                    "in": "path",
                    "required": True,
                    "description": f"The id of a {NAMES[prefix]}.",
                    "schema": {"type": "string", "pattern": f"^{prefix}_[0-9a-f]{{32}}$"},
                    "example": f"{prefix}_019ab3c4d5e67f8090a1b2c3d4e5f607",
                },
            )
    if not parameters:
        del entry["parameters"]
