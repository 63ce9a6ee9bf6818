"""One POST against every kind of receiver: what is told of it, how long it may take, how much of it is read."""

import asyncio
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.domain.ids import TenantId, new_uuid
from core.settings import WebhookSettings
from core.webhooks.egress.exchange import Answered, NoAnswer, NoPlace
from core.webhooks.egress.post import Egress
from tests.support.nameserver import Nameserver, serve_names
from tests.webhooks.certificates import make_authority, self_signed
from tests.webhooks.raw_receiver import (
    Behaviour,
    RawReceiver,
    answering,
    receive_raw,
    repeating,
    saying,
)

CONNECT, TOTAL = 0.2, 0.6
TENANT = TenantId(new_uuid())
BODY = b'{"type":"webhook.ping"}'


def local(**more: Any) -> WebhookSettings:
    given = {
        "allow_http": True,
        "allow_cidrs": ["127.0.0.0/8"],
        "timeout_seconds": TOTAL,
        "connect_timeout_seconds": CONNECT,
    }
    return WebhookSettings.model_validate(given | more)


@asynccontextmanager
async def egress(names: Nameserver | None = None, **more: Any) -> AsyncIterator[Egress]:
    async with Egress(local(**more), names.resolver() if names else None) as opened:
        yield opened


async def post(behave: Behaviour) -> tuple[Answered | NoAnswer, RawReceiver]:
    async with receive_raw(behave) as receiver, egress() as out:
        answer = await out.post(receiver.url(), {"webhook-id": "evt_1"}, BODY, tenant_id=TENANT)
        assert not isinstance(answer, NoPlace)
        return answer, receiver


@pytest.mark.parametrize(
    "status", [200, 201, 204, 300, 301, 302, 307, 308, 400, 401, 404, 410, 429, 500, 502, 503, 504, 599]
)
async def test_an_answer_is_its_status(status: int) -> None:
    answer, receiver = await post(answering(f"{status} Whatever", "location: http://127.0.0.1:1/elsewhere"))
    assert isinstance(answer, Answered)
    assert (answer.status, answer.is_success) == (status, 200 <= status < 300)
    assert (receiver.connections, len(receiver.exchanges)) == (1, 1)


async def test_a_request_says_what_it_has_to_and_nothing_of_this_machine() -> None:
    _, receiver = await post(answering("204 No Content"))
    head, _, body = receiver.exchanges[0].request.partition(b"\r\n\r\n")
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert head.startswith(b"POST /hook HTTP/1.1")
    assert body == BODY
    assert names == {b"host", b"webhook-id", b"user-agent", b"accept", b"accept-encoding", b"content-length",
                     b"content-type"}  # fmt: skip


BROKEN: dict[str, tuple[Behaviour, str]] = {
    "closes without a word": (saying(), "reset"),
    "resets without a word": (saying(end="reset"), "reset"),
    "closes within its headers": (saying(b"HTTP/1.1 200 OK\r\ncontent-"), "reset"),
    "resets within its headers": (saying(b"HTTP/1.1 200 OK\r\ncontent-", end="reset"), "reset"),
    "speaks no HTTP": (saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", end="hang"), "protocol"),
    "has a status that is none": (saying(b"HTTP/1.1 abc OK\r\n\r\n", end="hang"), "protocol"),
    "smuggles": (
        saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", end="hang"),
        "protocol",
    ),
    "has a header of 1 MB": (saying(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1_000_000, end="hang"), "protocol"),
    "has a chunk that is none": (saying(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "protocol"),
    "says nothing": (saying(end="hang"), "timeout"),
    "drips its headers": (repeating(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 0.05), "timeout"),
    "promises for ever": (repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), "timeout"),
}


@pytest.mark.parametrize(("behave", "problem"), BROKEN.values(), ids=BROKEN)
async def test_no_answer_is_told_by_its_kind_within_the_deadline(behave: Behaviour, problem: str) -> None:
    started = time.monotonic()
    answer, _ = await post(behave)
    assert isinstance(answer, NoAnswer), answer
    assert answer.problem == problem
    assert time.monotonic() - started < TOTAL + 2


ENDLESS: dict[str, Behaviour] = {
    "100 MB": saying(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n", *[b"x" * 65536] * 40, end="hang"),
    "for ever": repeating(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"),
    "drips": repeating(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b"x", 0.05),
    "resets": saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx", end="reset"),
    "breaks off": saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx"),
}


@pytest.mark.parametrize("behave", ENDLESS.values(), ids=ENDLESS)
async def test_a_status_counts_whatever_the_body_does(behave: Behaviour) -> None:
    started = time.monotonic()
    answer, _ = await post(behave)
    assert isinstance(answer, Answered), answer
    assert (answer.status, len(answer.body) <= 16 * 1024) == (200, True)
    assert time.monotonic() - started < TOTAL + 2


async def test_a_gzip_bomb_stays_packed() -> None:
    bomb = gzip.compress(b"\x00" * 10_000_000)
    answer, _ = await post(answering("200 OK", "content-encoding: gzip", body=bomb))
    assert isinstance(answer, Answered)
    assert answer.body == bomb[: 16 * 1024]


async def test_a_good_connection_is_kept_and_a_spoilt_one_is_not() -> None:
    async with receive_raw(answering("200 OK", body=b"fine")) as receiver, egress() as out:
        for _ in range(3):
            await out.post(receiver.url(), {}, BODY, tenant_id=TENANT)
        assert (receiver.connections, len(receiver.exchanges)) == (1, 3)
        receiver.behave = answering("200 OK", body=b"x" * 2_000_000)
        for _ in range(2):
            await out.post(receiver.url(), {}, BODY, tenant_id=TENANT)
        assert receiver.connections == 2


async def test_cookies_are_neither_kept_nor_sent() -> None:
    async with receive_raw(answering("200 OK", "set-cookie: a=b; Path=/")) as receiver, egress() as out:
        for _ in range(2):
            await out.post(receiver.url(), {}, BODY, tenant_id=TENANT)
    assert b"cookie" not in receiver.exchanges[1].request.lower()


async def test_nobody_there_looks_the_same_whatever_the_reason(unused_port: Callable[[], int]) -> None:
    """A closed port, a name that does not exist, a zone that is silent, an address that is not allowed."""

    def says(name: str, _: int) -> list[str] | None:
        return {"nowhere.test": [], "private.test": ["10.0.0.1"], "closed.test": ["127.0.0.1"]}.get(name)

    async with serve_names(says) as names, egress(names) as out:
        port = unused_port()
        found = {}
        for host in ("127.0.0.1", "closed.test", "nowhere.test", "silent.test", "private.test", "10.0.0.1"):
            started = time.monotonic()
            answer = await out.post(f"http://{host}:{port}/", {}, BODY, tenant_id=TENANT)
            assert isinstance(answer, NoAnswer)
            found[host] = answer, time.monotonic() - started
    assert {answer.problem for answer, _ in found.values()} == {"unreachable"}
    assert all(CONNECT <= seconds < CONNECT + 0.5 for _, seconds in found.values()), found
    # The tenant's log says as little of each.
    assert len({answer.visible_timing() for answer, _ in found.values()}) == 1
    # The operator's says which it was.
    assert (found["private.test"][0].reason, found["10.0.0.1"][0].reason) == ("Blocked", "Blocked")


@pytest.fixture
def unused_port() -> Callable[[], int]:
    import socket

    def find() -> int:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

    return find


HOST = "hooks.test"


@asynccontextmanager
async def over_tls(tls: ssl.SSLContext, ca_file: Path, behave: Behaviour) -> AsyncIterator[tuple[Egress, RawReceiver]]:
    async with (
        serve_names(lambda _name, _n: ["127.0.0.1"]) as names,
        receive_raw(behave, tls) as receiver,
        egress(names, ca_file=ca_file) as out,
    ):
        yield out, receiver


async def test_tls_is_timed_apart_and_names_are_too(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    async with over_tls(authority.server(HOST), authority.file, answering("200 OK")) as (out, receiver):
        answer = await out.post(receiver.url(HOST, "https"), {}, BODY, tenant_id=TENANT)
        again = await out.post(receiver.url(HOST, "https"), {}, BODY, tenant_id=TENANT)
    assert isinstance(answer, Answered), answer
    assert isinstance(again, Answered), again
    timing = answer.timing
    parts = (timing.dns_ms, timing.connect_ms, timing.tls_ms, timing.first_byte_ms)
    assert all(part is not None and part > 0 for part in parts), timing
    assert timing.total_ms is not None
    assert sum(part for part in parts if part is not None) <= timing.total_ms + 1
    # The second went over the same connection.
    assert (again.timing.dns_ms, again.timing.connect_ms, again.timing.tls_ms) == (None, None, None)
    assert again.timing.first_byte_ms is not None


@pytest.mark.parametrize("bad", ["self-signed", "expired", "of another host"])
async def test_a_certificate_that_is_not_good_is_refused(tmp_path: Path, bad: str) -> None:
    authority = make_authority(tmp_path)
    tls = {
        "self-signed": lambda: self_signed(tmp_path, HOST),
        "expired": lambda: authority.server(HOST, expired=True),
        "of another host": lambda: authority.server("another.test"),
    }[bad]()
    async with over_tls(tls, authority.file, answering("200 OK")) as (out, receiver):
        answer = await out.post(receiver.url(HOST, "https"), {}, BODY, tenant_id=TENANT)
    assert isinstance(answer, NoAnswer)
    assert answer.problem == "tls"
    assert receiver.exchanges == []


async def test_a_receiver_that_speaks_no_tls_is_told_so(tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server, egress(ca_file=make_authority(tmp_path).file) as out:
        port = server.sockets[0].getsockname()[1]
        answer = await out.post(f"https://127.0.0.1:{port}/", {}, BODY, tenant_id=TENANT)
    assert isinstance(answer, NoAnswer)
    assert answer.problem == "tls"
