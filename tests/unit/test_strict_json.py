"""Bodies that PostgreSQL or a provider would choke on are refused with 400, and too large ones with 413."""

import json
import tracemalloc
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from starlette.requests import Request
from starlette.types import Message, Scope

from api.http.strict_json import parse_lines, parse_object, read_body
from core.domain.errors import InvalidRequest, PayloadTooLarge

LIMIT = 1024


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


BAD = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "two values": b"{} {}",
    "a comment": b'{"a": 1 /* why */}',
    "single quotes": b"{'a': 1}",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "minus Infinity": b'{"a": -Infinity}',
    "a float beyond all": b'{"a": 1e999}',
    "a NUL in a text": b'{"a": "x\\u0000y"}',
    "a NUL in a name": b'{"x\\u0000y": 1}',
    "a NUL deep inside": b'{"a": [{"b": ["\\u0000"]}]}',
    "a raw NUL": b'{"a": "\x00"}',
    "a lone high surrogate": b'{"a": "\\ud800"}',
    "a lone low surrogate": b'{"a": "\\udc00 x"}',
    "surrogates the wrong way round": b'{"a": "\\udc00\\ud800"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "Latin-1": '{"a": "\xe9"}'.encode("latin-1"),
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "too deep": nested(40),
    "absurdly deep": nested(100_000),
    "too many values": b'{"a":[' + b"1," * 30_000 + b"1]}",
    "an integer of 65 bits": b'{"a": 18446744073709551616}',
    "an integer beyond 63 bits": b'{"a": 9223372036854775808}',
    "a negative one": b'{"a": -9223372036854775808}',
    "an integer of 5000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "a list": b"[]",
    "a text": b'"a"',
    "null": b"null",
    "a member twice": b'{"a": 1, "a": 2}',
    "a member twice, deep inside": b'{"a": [{"b": {"c": "x", "d": 1, "c": "x"}}]}',
    "a member twice, written differently": b'{"a\\"": 1, "\\u0061\\u0022": 2}',
    "a member with members twice": b'{"a": {"b": "c"}, "a": {"b": "c"}}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_what_is_not_strict_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_object(body)

    assert (refused.value.status, refused.value.code) == (400, "invalid_json")
    assert refused.value.message.endswith(".")
    # The message may say where, but doesn't repeat what it was given.
    assert len(refused.value.message) < 200


GOOD = {
    "empty": b"{}",
    "a surrogate pair": b'{"a": "\\ud83d\\ude00"}',
    "an emoji": '{"a": "\U0001f600"}'.encode(),
    "U+2028": b'{"a": "\\u2028"}',
    "the largest integer": b'{"a": 9223372036854775807}',
    "a small float": b'{"a": 1e-300}',
    "as deep as may be": nested(30),
    "many values": b'{"a":[' + b"1," * 15_000 + b"1]}",
    "control characters": b'{"a": "\\u0001\\u001f\\u007f"}',
    "one name in several objects": b'{"a": {"a": "a"}, "b": [{"a": 1}, {"a": 2}]}',
    "quotes and backslashes": b'{"a\\"": "\\\\", "\\\\\\"": "\\\\\\\\", "\\u0022": "\\/"}',
    "every kind": b'{"a": [true, false, null, 1, 1.5, "x", {}, []]}',
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD.keys())
def test_what_is_strict_is_read_as_it_is(body: bytes) -> None:
    assert parse_object(body) == json.loads(body)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(-1e18, 1e18)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["model", "input", "params"]), JSON_VALUES))
def test_ordinary_objects_pass_unchanged(value: dict[str, JsonValue]) -> None:
    assert parse_object(orjson.dumps(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_client_error(body: bytes) -> None:
    try:
        parsed = parse_object(body)
    except InvalidRequest:
        return
    assert isinstance(parsed, dict)


def request(*chunks: bytes, announced: str | None = None, cut: bool = False) -> Request:
    """A request whose body arrives in `chunks`; `cut` drops the connection after them."""
    headers = [] if announced is None else [(b"content-length", announced.encode())]
    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "headers": headers}
    last = len(chunks) - 1
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": cut or number < last}
        for number, chunk in enumerate(chunks)
    ]
    messages.append({"type": "http.disconnect"})
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    return Request(scope, receive)


async def test_a_body_in_pieces_is_read_whole() -> None:
    assert await read_body(request(b'{"a":', b"1", b"}"), LIMIT) == b'{"a":1}'
    assert await read_body(request(b"x" * LIMIT, announced=str(LIMIT)), LIMIT) == b"x" * LIMIT


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: request(b"", announced="2000000"), id="announced, and not read"),
        pytest.param(lambda: request(*[b"x" * 100] * 11), id="not announced"),
        pytest.param(lambda: request(b"x" * (LIMIT + 1), announced="5"), id="announced smaller than it is"),
        pytest.param(lambda: request(b"x" * (LIMIT + 1), announced="many"), id="announced as nonsense"),
        pytest.param(lambda: request(b"x" * 2_000_000), id="two megabytes"),
    ],
)
async def test_a_body_beyond_the_limit_is_413(make: Callable[[], Request]) -> None:
    with pytest.raises(PayloadTooLarge) as refused:
        await read_body(make(), LIMIT)

    assert refused.value.status == 413
    assert "1024 bytes" in refused.value.message


async def test_a_body_that_never_ends_is_given_up_at_the_limit() -> None:
    sent = 0

    async def receive() -> Message:
        nonlocal sent
        sent += 100
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with pytest.raises(PayloadTooLarge):
        await read_body(Request(scope, receive), LIMIT)

    assert sent <= LIMIT + 100


async def test_a_connection_that_ends_early_is_the_clients_error() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await read_body(request(b'{"a":', cut=True), LIMIT)

    assert refused.value.status == 400


def test_what_a_text_holds_are_no_values() -> None:
    text = ',"\\{}[]:' * 30_000
    assert parse_object(json.dumps({"a": text}).encode()) == {"a": text}


@pytest.mark.parametrize("value", ["1", "{}", '""', '"\\\\"', '"\\""'])
def test_millions_of_values_are_not_even_made(value: str) -> None:
    body = f'{{"a": [{",".join([value] * 1_000_000)}]}}'.encode()
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="more than 20000 values"):
        parse_object(body)
    assert tracemalloc.get_traced_memory()[1] < 4 * len(body) + 20_000_000
    tracemalloc.stop()


async def test_a_line_is_refused_by_its_number() -> None:
    lines = [{"a": 1}, {"a": [1] * 11}]
    with pytest.raises(InvalidRequest, match=r"^lines\.1: The body has more than 10 values"):
        await parse_lines(json.dumps({"lines": lines}).encode(), "lines", most_values=100, most_per_line=10)


def test_a_member_that_is_given_twice_is_named() -> None:
    with pytest.raises(InvalidRequest, match="the member `model` twice in one object"):
        parse_object(b'{"model": "a", "input": "x", "model": "b"}')


async def test_a_member_that_a_line_has_twice_is_refused() -> None:
    body = b'{"lines": [{"a": "b"}, {"a": "b", "a": "c"}], "other": "x"}'
    with pytest.raises(InvalidRequest, match="the member `a` twice"):
        await parse_lines(body, "lines", most_values=100, most_per_line=10)
    assert len(
        await parse_lines(b'{"lines": [{"a": "b"}, {"a": "b"}], "o": "x"}', "lines", most_values=99, most_per_line=9)
    )


def test_one_object_per_line_gets_a_hint() -> None:
    with pytest.raises(InvalidRequest, match=r"one JSON object per line; .* POST /v1/jobs/bulk"):
        parse_object(b'{"model": "a"}\n{"model": "b"}\n')


def test_what_a_repeated_member_hides_may_be_of_any_depth() -> None:
    with pytest.raises(InvalidRequest, match="twice in one object"):
        parse_object(b'{"a":' + b"[" * 1010 + b"]" * 1010 + b',"a":1}')
