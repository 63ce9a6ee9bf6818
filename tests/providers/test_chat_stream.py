"""Streams are joined without losing a byte, wherever the network cuts them."""

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from core.providers.answer import read_answer, read_usage, text_of
from core.providers.chat_stream import ChatStream, parse_event, read_events
from core.providers.faults import Fault, FaultCode


def piece(delta: dict[str, JsonValue], finish_reason: str | None = None) -> JsonValue:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


async def events(data: bytes, size: int) -> list[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return [event async for event in read_events(chunks())]


@given(st.lists(st.text(), max_size=5), st.integers(1, 40), st.sampled_from(["\n", "\r\n"]))
async def test_events_survive_any_cut(texts: list[str], size: int, end: str) -> None:
    wire = "".join(
        f": ping{end}event: message{end}data: {json.dumps(text, ensure_ascii=False)}{end}{end}" for text in texts
    )

    found = await events(wire.encode("utf-8", "replace"), size)

    assert [json.loads(event) for event in found] == [text.encode("utf-8", "replace").decode() for text in texts]


async def test_data_of_several_lines_is_one_event() -> None:
    assert await events(b"data: {\ndata:}\n\ndata: [DONE]\n", 3) == [b"{\n}", b"[DONE]"]


async def test_half_a_line_is_no_event() -> None:
    assert await events(b'data: {"a": 1}\n\ndata: {"b', 5) == [b'{"a": 1}']


def test_an_event_must_be_json() -> None:
    with pytest.raises(Fault) as caught:
        parse_event(b"<html>")
    assert caught.value.code is FaultCode.ANSWER_NOT_JSON


def test_every_kind_of_text_is_joined() -> None:
    stream = ChatStream()
    for delta in (
        {"role": "assistant"},
        {"reasoning_content": "hm"},
        {"reasoning_content": "m"},
        {"content": "a"},
        {"content": "b"},
    ):
        stream.add(piece(dict(delta)))
    stream.add(piece({}, "stop"))

    result = read_answer(stream.body(), model="m")

    assert result.message == {"role": "assistant", "content": "ab", "reasoning_content": "hmm"}
    assert (result.text, result.finish_reason, result.model) == ("ab", "stop", "m")


def test_parallel_tool_calls_keep_apart() -> None:
    stream = ChatStream()
    for index, part in ((0, '{"a"'), (1, '{"b"'), (0, ": 1}"), (1, ": 2}")):
        stream.add(piece({"tool_calls": [{"index": index, "id": f"t{index}", "function": {"arguments": part}}]}))
    stream.add(piece({}, "tool_calls"))

    calls = read_answer(stream.body(), model="m").message["tool_calls"]

    assert calls == [
        {"id": "t0", "function": {"name": "", "arguments": '{"a": 1}'}},
        {"id": "t1", "function": {"name": "", "arguments": '{"b": 2}'}},
    ]


@pytest.mark.parametrize(
    ("done", "finish_reason", "whole"), [(False, None, False), (True, None, True), (False, "stop", True)]
)
def test_a_stream_must_say_that_it_ended(done: bool, finish_reason: str | None, whole: bool) -> None:
    stream = ChatStream()
    stream.add(piece({"content": "half"}, finish_reason))
    stream.done = done

    if whole:
        assert read_answer(stream.body(), model="m").text == "half"
    else:
        with pytest.raises(Fault) as caught:
            stream.body()
        assert caught.value.code is FaultCode.STREAM_CUT


@pytest.mark.parametrize(
    "chunk",
    [
        [],
        "x",
        {"choices": [{"delta": {"tool_calls": ["x"]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": "0"}]}}]},
    ],
)
def test_a_chunk_of_the_wrong_shape_is_a_fault(chunk: JsonValue) -> None:
    with pytest.raises(Fault) as caught:
        ChatStream().add(chunk)
    assert caught.value.code is FaultCode.ANSWER_MALFORMED


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (None, FaultCode.ANSWER_EMPTY),
        ("x", FaultCode.ANSWER_MALFORMED),
        ({"content": None}, FaultCode.ANSWER_EMPTY),
        ({"content": {"a": 1}}, FaultCode.ANSWER_MALFORMED),
        ({"content": "x", "tool_calls": "y"}, FaultCode.ANSWER_MALFORMED),
        ({"content": "x", "tool_calls": [1]}, FaultCode.ANSWER_MALFORMED),
    ],
)
def test_a_message_of_the_wrong_shape_is_a_fault(message: JsonValue, code: FaultCode) -> None:
    with pytest.raises(Fault) as caught:
        read_answer({"choices": [{"message": message}]}, model="m")
    assert (caught.value.code, caught.value.billed) == (code, "maybe")


@pytest.mark.parametrize(
    "message", [{"content": ""}, {"content": None, "refusal": "no"}, {"content": None, "tool_calls": [{}]}]
)
def test_little_is_still_an_answer(message: dict[str, JsonValue]) -> None:
    result = read_answer({"choices": [{"message": message}], "usage": "lost"}, model="m")

    assert (result.text, result.finish_reason, result.message) == ("", "unknown", message)


def test_a_reported_error_is_not_an_answer() -> None:
    with pytest.raises(Fault) as caught:
        read_answer({"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]}, model="m")
    assert caught.value.code is FaultCode.PROVIDER_ERROR


def test_counts_are_counts_or_unknown() -> None:
    usage = read_usage(
        {"prompt_tokens": "9", "completion_tokens": True, "prompt_tokens_details": {"cached_tokens": -1}}
    )

    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens) == (
        None,
        None,
        None,
        None,
    )


def test_a_count_beyond_what_a_column_holds_is_the_most_that_it_holds() -> None:
    usage = read_usage({"prompt_tokens": 10**12, "completion_tokens": 7})

    assert (usage.input_tokens, usage.output_tokens) == (2**31 - 1, 7)


def test_text_is_a_text_or_parts() -> None:
    assert text_of([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]) == "ab"
    assert text_of(7) is None
