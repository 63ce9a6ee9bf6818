"""Joins the chunks of a streamed chat completion into the body of a call without streaming.

For adapters that stream internally: silence is noticed early, and NAT gateways keep the connection open. A stream that
stops half-way looks like a normal end on the wire; here it raises a Fault.
"""

from collections.abc import AsyncGenerator, AsyncIterable

import orjson
from pydantic import JsonValue

from core.providers.faults import Fault, FaultCode


async def read_events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Yields the data of each server-sent event. Only LF ends a line: JSON text may contain other separators."""
    rest = b""
    data: list[bytes] = []
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r")
            if text.startswith(b"data:"):
                data.append(text[5:].removeprefix(b" "))
            elif not text and data:
                yield b"\n".join(data)
                data = []
    if data:
        yield b"\n".join(data)


def parse_event(data: bytes) -> JsonValue:
    """Returns the event's JSON. Raises Fault(answer_not_json)."""
    try:
        chunk: JsonValue = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Fault(FaultCode.ANSWER_NOT_JSON, detail="an event of the stream is not JSON") from None
    return chunk


class ChatStream:
    """Collects chunks in order (`add`), then returns the joined body (`body`)."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._message: dict[str, JsonValue] = {"role": "assistant"}
        self._calls: dict[int, dict[str, JsonValue]] = {}
        self._finish_reason: JsonValue = None
        self._model: JsonValue = None
        self._usage: JsonValue = None
        self.done = False

    def add(self, chunk: JsonValue) -> None:
        if not isinstance(chunk, dict):
            raise Fault(FaultCode.ANSWER_MALFORMED, detail="an event of the stream is not an object")
        self._model = chunk.get("model") or self._model
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = choice.get("delta")
        for name, value in delta.items() if isinstance(delta, dict) else ():
            self._merge(name, value)

    def body(self) -> dict[str, JsonValue]:
        """Returns the joined body. Raises Fault(stream_cut) when neither a finish_reason nor [DONE] was seen."""
        if not self.done and not self._finish_reason:
            raise Fault(FaultCode.STREAM_CUT)
        message: dict[str, JsonValue] = {"content": None, **self._message}
        message |= {name: "".join(parts) for name, parts in self._texts.items()}
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        choice: dict[str, JsonValue] = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        return {"model": self._model, "choices": [choice], "usage": self._usage}

    def _merge(self, name: str, value: JsonValue) -> None:
        if name == "tool_calls":
            for call in value if isinstance(value, list) else ():
                self._merge_call(call)
        elif isinstance(value, str) and name != "role":
            self._texts.setdefault(name, []).append(value)
        elif value is not None:
            self._message[name] = value

    def _merge_call(self, call: JsonValue) -> None:
        index = call.get("index", 0) if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(index, int):
            raise Fault(FaultCode.ANSWER_MALFORMED, detail="a tool call of the stream is not an object")
        whole = self._calls.setdefault(index, {})
        function = call.get("function")
        whole |= {
            name: value for name, value in call.items() if name not in {"index", "function"} and value is not None
        }
        if isinstance(function, dict):
            known = whole.setdefault("function", {"name": "", "arguments": ""})
            if isinstance(known, dict):
                for part in ("name", "arguments"):
                    known[part] = f"{known[part]}{function.get(part) or ''}"
