"""Reads a request's body as strict JSON, before anything else looks at it. Used by api/http/deps.py.

What PostgreSQL or a provider would choke on later is refused here with 400: bytes that are not UTF-8, NaN, a lone
surrogate, a NUL, an integer beyond 64 bits, nesting or node counts that only an attack has. Too large is 413.
"""

import math
from collections.abc import Iterator
from typing import Final

import orjson
from pydantic import JsonValue
from starlette.requests import ClientDisconnect, Request

from core.domain.errors import InvalidRequest, PayloadTooLarge
from core.jobs.turns import Turns

_DEEPEST: Final = 32
MOST_VALUES: Final = 20_000
_LARGEST_INT: Final = 2**63


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises PayloadTooLarge as soon as more than `limit` bytes are announced or seen."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
    except ClientDisconnect:
        raise InvalidRequest("The connection ended before the body did.") from None
    return bytes(body)


def parse_object(body: bytes, *, most_values: int = MOST_VALUES) -> dict[str, JsonValue]:
    """The JSON object in `body`, of at most `most_values` values. Raises InvalidRequest, which says what is wrong."""
    value = _loaded(body, most_values)
    _refuse(_problem(value, most_values))
    return value


async def parse_lines(body: bytes, name: str, *, most_values: int, most_per_line: int) -> dict[str, JsonValue]:
    """As `parse_object`, for one whose member `name` is a long list: others run while its lines are looked at."""
    value = _loaded(body, most_values)
    lines = value.get(name)
    if not isinstance(lines, list):
        _refuse(_problem(value, most_per_line))
        return value
    _refuse(_problem({other: member for other, member in value.items() if other != name}, most_per_line))
    turns = Turns()
    for number, line in enumerate(lines):
        await turns.give_way()
        _refuse(_problem(line, most_per_line), f"{name}.{number}: ")
    return value


def _loaded(body: bytes, most_values: int) -> dict[str, JsonValue]:
    if len(body) > most_values and _has_more(body, most_values):
        raise _too_many(most_values)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return value


def _has_more(body: bytes, most_values: int) -> bool:
    """Whether the body certainly has more values, seen without making them: millions would take seconds and memory."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    if plain.count(b'"') > 2 * most_values:
        return True
    # What stands outside of texts.
    return b"".join(plain.split(b'"')[::2]).count(b",") > most_values


def _too_many(most_values: int) -> InvalidRequest:
    return InvalidRequest(f"The body has more than {most_values} values.", code="invalid_json")


def _refuse(problem: str | None, place: str = "") -> None:
    if problem is not None:
        raise InvalidRequest(f"{place}{problem}", code="invalid_json")


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The body is larger than {limit} bytes. Send less, or raise the limit on the server: "
        "INFERD_API_MAX_BODY_BYTES, or INFERD_API_MAX_BULK_BYTES where many jobs are sent at once."
    )


def _problem(root: JsonValue, most_values: int) -> str | None:
    nodes = 0
    level: list[JsonValue] = [root]
    for _ in range(_DEEPEST):
        nodes += len(level)
        if nodes > most_values:
            return _too_many(most_values).message
        following: list[JsonValue] = []
        for value in level:
            problem = _scalar_problem(value)
            if problem is not None:
                return problem
            following.extend(_children(value))
        if not following:
            return None
        level = following
    return f"The body is nested deeper than {_DEEPEST} levels."


def _children(value: JsonValue) -> Iterator[JsonValue]:
    match value:
        case dict():
            yield from value.keys()
            yield from value.values()
        case list():
            yield from value
        case _:
            return


def _scalar_problem(value: JsonValue) -> str | None:
    match value:
        case str() if "\x00" in value:
            return "The body has a NUL character (\\u0000) in a text; remove it."
        case bool():
            return None
        case int() if abs(value) >= _LARGEST_INT:
            return "The body has an integer beyond 64 bits."
        case float() if not math.isfinite(value):
            return "The body has a number that is not finite."
        # The parser makes a float of an integer that is too long, and loses digits.
        case float() if abs(value) >= _LARGEST_INT:
            return "The body has a number beyond 64 bits."
        case _:
            return None
