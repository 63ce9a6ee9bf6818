"""Reads a request's body as strict JSON, before anything else looks at it. Used by api/http/admission.py.

What PostgreSQL or a provider would choke on later is refused here with 400: bytes that are not UTF-8, NaN, a lone
surrogate, a NUL, an integer beyond 64 bits, a member that is given twice, nesting or node counts that only an attack
has. Too large is 413.
"""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import orjson
from pydantic import JsonValue
from starlette.requests import ClientDisconnect, Request

from core.domain.errors import InvalidRequest, PayloadTooLarge
from core.jobs.long_work import LongWork

_DEEPEST: Final = 32
MOST_VALUES: Final = 20_000
_LARGEST_INT: Final = 2**63
_LONGEST_NAME: Final = 80


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
    _refuse_repeated_names(body, _count_texts(value, most_values))
    return value


async def parse_lines(body: bytes, name: str, *, most_values: int, most_per_line: int) -> dict[str, JsonValue]:
    """As `parse_object`, for one whose member `name` is a long list: others run while its lines are checked."""
    value = _loaded(body, most_values)
    lines = value.get(name)
    if not isinstance(lines, list):
        _refuse_repeated_names(body, _count_texts(value, most_per_line))
        return value
    # The name of the list itself is the one text that is in neither.
    texts = 1 + _count_texts({other: member for other, member in value.items() if other != name}, most_per_line)
    work = LongWork()
    for number, line in enumerate(lines):
        await work.give_way()
        texts += _count_texts(line, most_per_line, f"{name}.{number}: ")
    _refuse_repeated_names(body, texts)
    return value


def _loaded(body: bytes, most_values: int) -> dict[str, JsonValue]:
    if len(body) > most_values and _has_more(body, most_values):
        raise _too_many(most_values)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _not_json(body, error) from None
    if not isinstance(value, dict):
        found = "an array" if isinstance(value, list) else "a single value"
        raise InvalidRequest(f"The body must be a JSON object, `{{…}}`; it is {found}.", code="invalid_json")
    return value


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> InvalidRequest:
    if not body.strip():
        text = "The body is empty; send a JSON object."
    elif _is_object(body.strip().partition(b"\n")[0]):
        text = (
            "The body has one JSON object per line; send one JSON object. Many jobs go to POST /v1/jobs/bulk as "
            '{"jobs": [{…}, {…}]}.'
        )
    else:
        text = f"The body is not valid JSON: {error}."
    return InvalidRequest(text, code="invalid_json")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _has_more(body: bytes, most_values: int) -> bool:
    """Whether the body certainly has more values, seen without making them: millions would take seconds and memory."""
    plain = _without_escapes(body)
    if plain.count(b'"') > 2 * most_values:
        return True
    # What stands outside of texts.
    return b"".join(plain.split(b'"')[::2]).count(b",") > most_values


def _without_escapes(body: bytes) -> bytes:
    """Every quote that is left begins or ends a text."""
    return body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body


def _refuse_repeated_names(body: bytes, texts: int) -> None:
    """The parser keeps the last of two members of one name, so that fewer texts are in its value than in the body."""
    if _without_escapes(body).count(b'"') != 2 * texts:
        raise InvalidRequest(
            f"The body has {_repeated_name(body)} twice in one object; send it once.", code="invalid_json"
        )


def _repeated_name(body: bytes) -> str:
    found: list[str] = []

    def look(members: list[tuple[str, JsonValue]]) -> None:
        names = set()
        for name, _ in members:
            if name in names:
                found.append(name)
            names.add(name)

    # Of the members that the parser dropped nobody has looked at the depth.
    with suppress(RecursionError, ValueError):
        json.loads(body, object_pairs_hook=look)
    return f"the member `{found[0][:_LONGEST_NAME]}`" if found else "a member"


def _too_many(most_values: int) -> InvalidRequest:
    return InvalidRequest(f"The body has more than {most_values} values.", code="invalid_json")


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The body is larger than {limit} bytes. Send less, or raise the limit on the server: "
        "INFERD_API_MAX_BODY_BYTES, or INFERD_API_MAX_BULK_BYTES where many jobs are sent at once."
    )


def _count_texts(root: JsonValue, most_values: int, place: str = "") -> int:
    """How many texts `root` has, names of members included. Raises InvalidRequest, which names the `place`."""
    nodes = texts = 0
    level: list[JsonValue] = [root]
    for _ in range(_DEEPEST):
        nodes += len(level)
        if nodes > most_values:
            raise InvalidRequest(f"{place}{_too_many(most_values).message}", code="invalid_json")
        following: list[JsonValue] = []
        for value in level:
            problem = _scalar_problem(value)
            if problem is not None:
                raise InvalidRequest(f"{place}{problem}", code="invalid_json")
            texts += isinstance(value, str)
            following.extend(_children(value))
        if not following:
            return texts
        level = following
    raise InvalidRequest(f"{place}The body is nested deeper than {_DEEPEST} levels.", code="invalid_json")


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
