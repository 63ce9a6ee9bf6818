"""What the fake provider can do: one behaviour for each way in which real providers answer or don't."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.conformance.fake_provider import Call, FakeProvider

Behaviour = Callable[["Reply", "Call", "FakeProvider", str], Awaitable[bool]]
USAGE: Final = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
_REASONS: Final = {200: "OK", 307: "Temporary Redirect"}


class Reply:
    """The answering half of one connection. What each method returns is whether the connection may be kept."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def json(self, body: object, status: int = 200, headers: dict[str, str] | None = None) -> bool:
        return await self.whole(
            json.dumps(body).encode(), status, {"content-type": "application/json", **(headers or {})}
        )

    async def whole(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> bool:
        await self.head(status, {"content-length": str(len(body)), **(headers or {})})
        await self.send(body)
        return True

    async def head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", "x-request-id: req_fake"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join((*lines, "", "")).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def events(self, chunks: list[object], *, done: bool = True) -> bool:
        """A stream that ends with the connection, so that a cut one looks like a whole one on the wire."""
        await self.head(200, {"content-type": "text/event-stream", "connection": "close"})
        await self.send(b": a comment\r\n\r\n")
        for chunk in chunks:
            await self.send(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())
        if done:
            await self.send(b"data: [DONE]\n\n")
        return False


def last_user_text(call: "Call") -> str:
    users = [message for message in call.body.get("messages", []) if message.get("role") == "user"]
    content = users[-1]["content"] if users else ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def completion(message: dict[str, Any], finish_reason: str | None = "stop", usage: object = USAGE) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion", "model": "fake-1", "choices": [choice], "usage": usage}


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "fake-1", "choices": [choice]}


def _said(text: str) -> list[object]:
    half = len(text) // 2
    return [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": text[:half]}),
        chunk({"content": text[half:]}),
    ]


async def _ok(reply: Reply, call: "Call", _fake: "FakeProvider", delay: str) -> bool:
    await asyncio.sleep(float(delay or 0))
    text = last_user_text(call)
    if not call.body.get("stream"):
        return await reply.json(completion({"content": text}))
    usage = (
        {"choices": [], "usage": USAGE} if call.body.get("stream_options", {}).get("include_usage") else {"choices": []}
    )
    return await reply.events([*_said(text), chunk({}, "stop"), usage])


async def _flaky(reply: Reply, call: "Call", fake: "FakeProvider", times: str) -> bool:
    if len(fake.calls_of(call.job_id)) <= int(times or 2):
        return await reply.json({"error": {"message": "try later", "type": "server_error"}}, 500)
    return await _ok(reply, call, fake, "")


async def _rate_limited(reply: Reply, _call: "Call", _fake: "FakeProvider", seconds: str) -> bool:
    error = {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}
    return await reply.json({"error": error}, 429, {"retry-after": seconds or "7"})


async def _rate_limited_once(reply: Reply, call: "Call", fake: "FakeProvider", seconds: str) -> bool:
    return await (_rate_limited if call.run_no <= 1 else _ok)(reply, call, fake, seconds if call.run_no <= 1 else "")


async def _tool_call(reply: Reply, call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
    function = {"name": "weather", "arguments": '{"city": "Bern"}'}
    if not call.body.get("stream"):
        tool = {"id": "t1", "type": "function", "function": function}
        return await reply.json(completion({"content": None, "tool_calls": [tool]}, "tool_calls"))
    pieces: list[object] = [
        chunk(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": part}],
            }
        )
        if part.get("name")
        else chunk({"tool_calls": [{"index": 0, "function": part}]})
        for part in ({"name": "weather", "arguments": ""}, {"arguments": '{"city": '}, {"arguments": '"Bern"}'})
    ]
    return await reply.events([*pieces, chunk({}, "tool_calls")])


async def _cut_stream(reply: Reply, call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
    if call.body.get("stream"):
        return await reply.events(_said(last_user_text(call)), done=False)
    await reply.head(200, {"content-type": "application/json", "content-length": "5000"})
    await reply.send(b'{"choices": [')
    return False


async def _error_in_stream(reply: Reply, call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
    error = {"error": {"message": "upstream died", "code": 502}}
    return await (reply.events([*_said("half an answer"), error]) if call.body.get("stream") else reply.json(error))


async def _hang(_reply: Reply, _call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
    return await asyncio.Event().wait()


async def _hang_after_headers(reply: Reply, call: "Call", fake: "FakeProvider", _arg: str) -> bool:
    kind = "text/event-stream" if call.body.get("stream") else "application/json"
    await reply.head(200, {"content-type": kind, "connection": "close"})
    return await _hang(reply, call, fake, "")


async def _drip(reply: Reply, _call: "Call", _fake: "FakeProvider", pause: str) -> bool:
    await reply.head(200, {"content-type": "application/json", "connection": "close"})
    while True:
        await reply.send(b" ")
        await asyncio.sleep(float(pause or 0.01))


async def _drop_before_headers(_reply: Reply, _call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
    return False


async def _drop_after_headers(reply: Reply, _call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
    await reply.head(200, {"content-type": "application/json", "content-length": "5000"})
    return False


async def _redirect(reply: Reply, _call: "Call", fake: "FakeProvider", _arg: str) -> bool:
    return await reply.whole(b"", 307, {"location": f"{fake.redirect_to}/chat/completions"})


async def _cookie(reply: Reply, call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
    return await reply.json(
        completion({"content": last_user_text(call)}), headers={"set-cookie": "__cf_bm=tenant-a; Path=/"}
    )


async def _leaky(reply: Reply, call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
    key = call.headers.get("authorization", "").removeprefix("Bearer ")
    return await reply.json({"error": {"message": f"Bad input {last_user_text(call)!r} for key {key}\x00."}}, 400)


async def _huge(reply: Reply, _call: "Call", _fake: "FakeProvider", size: str) -> bool:
    return await reply.whole(b" " * int(size), 200, {"content-type": "application/json"})


async def _zipped(reply: Reply, call: "Call", _fake: "FakeProvider", size: str) -> bool:
    """An answer, with so many bytes before it that cost next to nothing on the wire."""
    body = b" " * int(size or 0) + json.dumps(completion({"content": last_user_text(call)})).encode()
    return await reply.whole(gzip.compress(body), 200, {"content-type": "application/json", "content-encoding": "gzip"})


def _fixed(status: int, body: object, headers: dict[str, str] | None = None) -> Behaviour:
    async def behave(reply: Reply, _call: "Call", _fake: "FakeProvider", _arg: str) -> bool:
        if isinstance(body, str):
            return await reply.whole(body.encode(), status, {"content-type": "text/html", **(headers or {})})
        return await reply.json(body, status, headers)

    return behave


def _error(status: int, message: str, headers: dict[str, str] | None = None, **more: object) -> Behaviour:
    return _fixed(status, {"error": {"message": message, **more}}, headers)


_PAGE: Final = "<html><body>502 Bad Gateway</body></html>"
BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "ok": _ok,
    "flaky": _flaky,
    "rate-limited": _rate_limited,
    "rate-limited-once": _rate_limited_once,
    "tool-call": _tool_call,
    "cut-stream": _cut_stream,
    "error-in-stream": _error_in_stream,
    "hang": _hang,
    "hang-after-headers": _hang_after_headers,
    "drip": _drip,
    "drop-before-headers": _drop_before_headers,
    "drop-after-headers": _drop_after_headers,
    "redirect": _redirect,
    "cookie": _cookie,
    "leaky": _leaky,
    "loading": _error(503, "Loading model", code=503, type="unavailable_error"),
    "unavailable": _error(503, "The server is overloaded", type="server_error"),
    "error": _error(500, "The server had an error", type="server_error"),
    "no-retry": _error(500, "Never again", {"x-should-retry": "false"}),
    "bad-gateway": _fixed(502, _PAGE),
    "gateway-timeout": _fixed(504, _PAGE),
    "overloaded": _error(529, "Overloaded", type="overloaded_error"),
    "conflict": _error(409, "Locked"),
    "quota": _error(429, "You exceeded your current quota", type="insufficient_quota", code="insufficient_quota"),
    "payment": _error(402, "Insufficient credits", code=402),
    "unauthorized": _error(401, "Incorrect API key provided", code="invalid_api_key"),
    "forbidden": _error(403, "Country not supported", code="unsupported_country_region_territory"),
    "not-found": _error(404, "The model does not exist", code="model_not_found"),
    "no-endpoint": _fixed(404, "<html>404</html>"),
    "invalid": _error(400, "Unsupported value: temperature", type="invalid_request_error"),
    "context": _error(400, "This model's maximum context length is 8192 tokens", code="context_length_exceeded"),
    "filtered": _error(400, "The response was filtered", code="content_filter"),
    "too-large": _error(413, "Request too large"),
    "filtered-answer": _fixed(200, completion({"content": None}, "content_filter")),
    "thinking": _fixed(200, completion({"content": None}, "length")),
    "error-in-200": _error(200, "Upstream is rate limited", code=429),
    "strange-error-in-200": _error(200, "odd", code="weather"),
    "choices-null": _fixed(200, {"choices": None}),
    "choices-empty": _fixed(200, {"choices": []}),
    "no-content": _fixed(200, completion({"content": None})),
    "wrong-types": _fixed(200, {"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}),
    "a-list": _fixed(200, [1, 2]),
    "huge": _huge,
    "zipped": _zipped,
    "broken-zip": _fixed(200, "{}", {"content-encoding": "gzip"}),
    "html": _fixed(200, _PAGE),
    "broken-json": _fixed(200, '{"choices": [{', {"content-type": "application/json"}),
}
