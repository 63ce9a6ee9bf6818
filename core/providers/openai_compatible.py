"""Stop 6 of 9 · from core/jobs/execute.py · to core/jobs/finish.py

Makes one chat completion at any server with OpenAI's API, through the openai SDK: without its retries, and with nothing
read from the environment. core/providers/answer.py validates the raw bytes, because the SDK accepts any 200.
core/providers/catalogue.py builds one adapter for each provider; it belongs to the event loop of its first call.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol, cast

import httpx2
import openai
import orjson
from pydantic import JsonValue, SecretStr

from core.domain.clock import Clock, SystemClock
from core.domain.ids import show_job
from core.domain.inference import InferenceRequest, InferenceResult
from core.providers.answer import read_answer
from core.providers.chat_stream import ChatStream, parse_event, read_events
from core.providers.faults import Fault, FaultCode, classify_status, decode_body
from core.providers.params import OWNED
from core.providers.redact import Redaction, prompts_of
from core.providers.shards import Shards
from core.providers.transport import (
    DEFAULT_TIMEOUTS,
    MAX_ANSWER_BYTES,
    MAY_SEND,
    AnswerTooLarge,
    NotSent,
    Timeouts,
    open_http_client,
)

# The first match wins.
_CONNECTION_FAULTS: Final[tuple[tuple[type[httpx2.RequestError], FaultCode], ...]] = (
    (AnswerTooLarge, FaultCode.ANSWER_TOO_LARGE),
    (NotSent, FaultCode.NOT_SENT),
    (httpx2.PoolTimeout, FaultCode.CONNECTIONS_BUSY),
    (httpx2.ConnectError, FaultCode.PROVIDER_UNREACHABLE),
    (httpx2.ConnectTimeout, FaultCode.PROVIDER_UNREACHABLE),
    (httpx2.TimeoutException, FaultCode.PROVIDER_TIMEOUT),
    (httpx2.UnsupportedProtocol, FaultCode.URL_INVALID),
    (httpx2.LocalProtocolError, FaultCode.ADAPTER_ERROR),
    (httpx2.DecodingError, FaultCode.ANSWER_NOT_JSON),
    (httpx2.RequestError, FaultCode.CONNECTION_LOST),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server. `stream_internally` requests a stream and joins it: silence is noticed, at the cost of CPU."""

    base_url: str
    api_key: SecretStr | None = None
    concurrency: int = 256
    stream_internally: bool = False
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    max_answer_bytes: int = MAX_ANSWER_BYTES


class _RawAnswer(Protocol):
    @property
    def http_response(self) -> httpx2.Response: ...


class _Create(Protocol):
    async def __call__(
        self,
        *,
        model: str,
        messages: tuple[Mapping[str, JsonValue], ...],
        extra_headers: Mapping[str, str],
        extra_body: Mapping[str, JsonValue],
        stream: bool,
        stream_options: Mapping[str, bool],
    ) -> _RawAnswer: ...


class OpenAICompatible:
    """A Provider (core/providers/port.py) for one Endpoint."""

    def __init__(self, endpoint: Endpoint, clock: Clock | None = None) -> None:
        self._endpoint = endpoint
        self._clock = clock or SystemClock()
        self._key = endpoint.api_key.get_secret_value() if endpoint.api_key else ""
        self._shards = Shards(self._open_client, concurrency=endpoint.concurrency, patience=endpoint.timeouts.pool)

    async def infer(self, request: InferenceRequest) -> InferenceResult:
        MAY_SEND.set(request.may_send)
        try:
            async with asyncio.timeout(request.timeout):
                return await self._call(request)
        except Fault:
            raise
        except Exception as error:  # noqa: BLE001 - the port promises a Fault, whatever the SDK raises
            fault = self._fault_of(error, request)
            # The SDK's errors quote the provider unredacted, so only an unexpected error keeps its cause.
            raise fault from (error if fault.code is FaultCode.ADAPTER_ERROR else None)

    async def aclose(self) -> None:
        for client in self._shards.clients:
            await client.close()

    def _open_client(self, connections: int) -> openai.AsyncOpenAI:
        http_client = open_http_client(
            api_key=self._key,
            connections=connections,
            timeouts=self._endpoint.timeouts,
            max_answer_bytes=self._endpoint.max_answer_bytes,
        )
        return openai.AsyncOpenAI(
            # The SDK refuses an empty key. The transport drops whatever the SDK adds from the environment.
            api_key=self._key or "none",
            base_url=self._endpoint.base_url,
            max_retries=0,
            timeout=http_client.timeout,
            http_client=http_client,
        )

    async def _call(self, request: InferenceRequest) -> InferenceResult:
        # Submit refuses these; a job that an older release accepted is checked again here.
        if ours := sorted(request.params.keys() & OWNED):
            raise Fault(FaultCode.INVALID_REQUEST, detail=f"params that inferd sets itself: {', '.join(ours)}")
        headers = {
            "x-inferd-job-id": show_job(request.job_id),
            "x-inferd-attempt": str(request.attempt),
            "x-inferd-run": str(request.run_no),
        }
        async with self._shards.take() as client:
            response = await self._send(client, request, headers)
            try:
                body = await self._body(response, request)
            finally:
                await response.aclose()
        self._refuse_error(body, response, request)
        return read_answer(body, model=request.model, request_id=response.headers.get("x-request-id"))

    async def _send(
        self, client: openai.AsyncOpenAI, request: InferenceRequest, headers: Mapping[str, str]
    ) -> httpx2.Response:
        if not self._endpoint.stream_internally:
            body = {**request.params, "model": request.model, "messages": request.messages}
            # `post` takes a body as it is. `create` would walk it by its TypedDicts, which doubles the CPU of a call.
            return await client.post(
                "/chat/completions", cast_to=httpx2.Response, body=body, options={"headers": headers}
            )
        create = cast("_Create", client.chat.completions.with_raw_response.create)
        raw = await create(
            model=request.model,
            messages=request.messages,
            extra_headers=headers,
            # The SDK has no arguments for the params of vLLM or Ollama.
            extra_body=request.params,
            stream=True,
            stream_options={"include_usage": True},
        )
        return raw.http_response

    async def _body(self, response: httpx2.Response, request: InferenceRequest) -> JsonValue:
        kind = response.headers.get("content-type", "no content-type")[:80]
        if not (self._endpoint.stream_internally and kind.startswith("text/event-stream")):
            raw = await response.aread()
            try:
                body: JsonValue = orjson.loads(raw)
            except orjson.JSONDecodeError:
                raise Fault(FaultCode.ANSWER_NOT_JSON, detail=f"{kind}, {len(raw)} bytes") from None
            return body
        stream = ChatStream()
        async with aclosing(read_events(response.aiter_bytes())) as events:
            async for data in events:
                if data.strip() == b"[DONE]":
                    stream.done = True
                    break
                chunk = parse_event(data)
                self._refuse_error(chunk, response, request)
                stream.add(chunk)
        return stream.body()

    def _refuse_error(self, body: JsonValue, response: httpx2.Response, request: InferenceRequest) -> None:
        if isinstance(body, dict) and body.get("error"):
            raise self._classify(response, body, request)

    def _classify(self, response: httpx2.Response, body: JsonValue, request: InferenceRequest) -> Fault:
        hide = Redaction(secrets=(self._key,), prompts=prompts_of(request.messages))
        return classify_status(response.status_code, response.headers, body, now=self._clock.now(), hide=hide)

    def _fault_of(self, error: Exception, request: InferenceRequest) -> Fault:
        match error:
            case TimeoutError():
                return Fault(FaultCode.ATTEMPT_TIMEOUT, detail=f"after {request.timeout:g} s")
            case openai.APIStatusError():
                return self._classify(error.response, decode_body(error.response.content), request)
            case openai.APIConnectionError():
                return _connection_fault(error.__cause__)
            case _:
                return _connection_fault(error)


def _connection_fault(error: BaseException | None) -> Fault:
    """Returns the Fault for a call without a response. It names only the error's type: the text may hold secrets."""
    cause = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Fault(FaultCode.CERTIFICATE_INVALID, detail=cause.verify_message)
        cause = cause.__cause__ or cause.__context__
    for kind, code in _CONNECTION_FAULTS:
        if isinstance(error, kind):
            return Fault(code, detail=type(error).__name__)
    return Fault(FaultCode.ADAPTER_ERROR, detail=type(error).__name__)
