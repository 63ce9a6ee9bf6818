"""An HTTP server on a real socket whose answers a test writes down, and that remembers what it was asked."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

JOB_ID = "job_01a1fce30a827315bbc1e20a7b8d5215"


@dataclass(frozen=True)
class Asked:
    """A request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class ScriptedApi:
    """`say` queues answers for a path; the last one of a path is given for ever."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    _answers: dict[tuple[str, str], list[tuple[int, str, bytes]]] = field(default_factory=lambda: defaultdict(list))

    def say(self, method: str, path: str, status: int, body: object, kind: str = "application/json") -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answers[method, path].append((status, kind, raw))

    def submitted(self, *looks: dict[str, Any]) -> None:
        """The first of `looks` answers the submit; each of the others one reading."""
        first, *others = looks
        self.say("POST", "/v1/jobs", 202, first)
        for look in others:
            self.say("GET", f"/v1/jobs/{JOB_ID}", 200, look)

    def answer(self, asked: Asked) -> tuple[int, str, bytes]:
        self.asked.append(asked)
        waiting = self._answers[asked.method, urlsplit(asked.path).path]
        if not waiting:
            return 404, "application/json", json.dumps(error("not_found", "no such path")).encode()
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


def error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "param": None, "code": code}}


def attempt(number: int, outcome: str, code: str | None = None, **changes: Any) -> dict[str, Any]:
    failure = None if code is None else {"class": "unavailable", "code": code, "message": "scripted"}
    base = {"attempt": number, "run": number, "outcome": outcome, "error": failure, "http_status": None}
    return {**base, "wait_seconds": None, **changes}


def job(status: str, **changes: Any) -> dict[str, Any]:
    """A job object, with what the command line reads and a field that it does not know."""
    base: dict[str, Any] = {
        "id": JOB_ID,
        "object": "job",
        "status": status,
        "model": "echo/echo",
        "attempts_used": 0 if status == "queued" else 1,
        "queue_ms": 3,
        "run_ms": None,
        "attempts": [],
        "output": None,
        "usage": None,
        "error": None,
        "of_a_later_version": True,
    }
    if status == "succeeded":
        base |= {
            "output": {"text": "Hello [you]", "finish_reason": "stop", "message": {}, "model": "echo"},
            "usage": {"input_tokens": 2, "output_tokens": 3},
            "run_ms": 7,
        }
    if status == "failed":
        base["error"] = {"code": "provider_invalid_request", "message": "It is wrong.", "next_step": "Change it."}
    return {**base, **changes}


@contextmanager
def serve() -> Iterator[ScriptedApi]:
    scripted = ScriptedApi()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, kind, body = scripted.answer(
                Asked(self.command, self.path, headers, json.loads(raw) if raw else None)
            )
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("x-request-id", "req_1")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _do  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is the command's."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        scripted.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield scripted
        server.shutdown()
        thread.join()
