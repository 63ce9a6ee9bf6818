"""The one way an answer becomes bytes: orjson, times in UTC with a `Z`. Used by the routes and api/http/errors.py."""

from collections.abc import Mapping

import orjson
from fastapi import Response


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON."""
    return Response(
        orjson.dumps(content, option=orjson.OPT_UTC_Z), status, dict(headers or {}), media_type="application/json"
    )
