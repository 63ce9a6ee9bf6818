"""What a client may do to a connection: how long a head, a body and silence may take, and how many there are.

uvicorn's protocol with deadlines that it lacks. A client that sends slowly, stops reading or vanishes is cut; nothing
else in the API has a time for it. Used by api/main.py.
"""

import asyncio
import socket
from typing import Any, Final, Literal, TypeAlias

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from api.http.errors import error_object
from api.http.json_response import json_response
from core.domain.errors import AppError, InvalidRequest, RequestTimeout, Unavailable
from core.settings import ApiSettings

_LONGEST_HEAD: Final = 65_536
# A peer that vanished is found out within a minute, also by a stream on which nothing happens.
_KEEP_ALIVE: Final = (
    ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
    ("TCP_KEEPIDLE", socket.IPPROTO_TCP, 30),
    ("TCP_KEEPINTVL", socket.IPPROTO_TCP, 10),
    ("TCP_KEEPCNT", socket.IPPROTO_TCP, 3),
    ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, 60_000),
)
_Part: TypeAlias = Literal["head", "body", "nothing"]


def guarded(settings: ApiSettings) -> type[HttpToolsProtocol]:
    """Uvicorn's `http` for these settings."""

    class Guarded(_Guarded):
        api = settings

    return Guarded


class _Guarded(HttpToolsProtocol):
    """One connection. `_awaits` is what of a request has begun and is not whole."""

    api: ApiSettings

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.timeout_keep_alive = self.api.idle_seconds  # type: ignore[assignment]  # call_later takes a float
        self._awaits: _Part = "head"
        self._head_bytes = 0
        # Since the last byte of a body: what frames it, and what comes behind it.
        self._framing_bytes = 0
        self._armed: _Part = "nothing"
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.api.max_connections:
            self._refuse(Unavailable("Too many connections are open; try again.", retry_after=1.0))
            return
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            for name, level, value in _KEEP_ALIVE:
                if (option := getattr(socket, name, None)) is not None:
                    connection.setsockopt(level, option, value)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._reader_is_back()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._awaits == "nothing" and not self._answering():
            # Whatever it is, a request or less than one, ends the idleness.
            self._awaits = "head"
        if self._awaits == "head":
            self._head_bytes += len(data)
        elif self._awaits == "body":
            self._framing_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._awaits == "head" and self._head_bytes > _LONGEST_HEAD:
            self._refuse(InvalidRequest(f"The request's head is larger than {_LONGEST_HEAD} bytes."))
        elif self._awaits == "body" and self._framing_bytes > _LONGEST_HEAD:
            self._refuse(InvalidRequest(f"More than {_LONGEST_HEAD} bytes in a row are no part of the request's body."))
        elif self._awaits != self._armed:
            self._disarm()
            self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._awaits = "head"

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is nobody's: kept with the headers it would be memory that a client without a key fills.
        if self._awaits != "body":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._awaits, self._head_bytes, self._framing_bytes = "body", 0, 0

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._framing_bytes = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._awaits = "nothing"

    def pause_writing(self) -> None:
        super().pause_writing()
        # What the client does not read is buffered here, and close() would wait until it is sent: abort.
        self._unread = self.loop.call_later(self.api.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reader_is_back()

    def _answering(self) -> bool:
        # Until the first request there is no cycle, whatever uvicorn's annotation says.
        return bool(self.cycle) and not self.cycle.response_complete

    def _arm(self) -> None:
        self._armed = self._awaits
        if self._armed != "nothing":
            seconds = self.api.header_seconds if self._armed == "head" else self.api.body_seconds
            self._deadline = self.loop.call_later(seconds, self._too_slow, self._armed, seconds)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._armed = "nothing"

    def _reader_is_back(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _too_slow(self, part: _Part, seconds: float) -> None:
        if part == "head" and not self._head_bytes:
            # A connection that was opened in advance, perhaps by a proxy: an answer to nothing would confuse it.
            self.transport.close()
            return
        self._refuse(RequestTimeout(f"The request's {part} did not arrive within {seconds:g} s.", retry_after=1.0))

    def send_400_response(self, msg: str) -> None:
        """Refuses bytes that are no HTTP, with an error like any other. Called by uvicorn."""
        self._refuse(InvalidRequest(msg))

    def _refuse(self, error: AppError) -> None:
        """Says why, unless an answer has begun, and closes."""
        self._disarm()
        if self.transport.is_closing():
            return
        answering = self._answering()
        if not answering or not self.cycle.response_started:
            self.transport.write(_rendered(error))
        if answering:
            # Nothing reads what the application still sends.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


def _rendered(error: AppError) -> bytes:
    body = bytes(json_response({"error": error_object(error)}).body)
    head = [
        STATUS_LINE[error.status],
        b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body),
        b"x-should-retry: false\r\n" if error.retry_after is None else b"retry-after: 1\r\n",
    ]
    return b"".join([*head, b"\r\n", body])
