"""Slow, silent and greedy clients on raw sockets: each is cut within its bound, and nobody else notices."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import MakeSettings
from tests.support.processes import RunningApi, serve_api
from tests.support.tenants import Tenant
from tests.support.waiting import eventually

HEAD = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
BODY = json.dumps({"model": "echo/echo", "input": "hi"})


@pytest.fixture
async def impatient(make_settings: MakeSettings) -> AsyncIterator[RunningApi]:
    bounds = {"header_seconds": 0.3, "body_seconds": 0.5, "idle_seconds": 0.4, "max_connections": 3}
    async with serve_api(make_settings(api=bounds)) as running:
        yield running


async def connect(running: RunningApi) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = running.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def told(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status and the code of the only answer; the connection must end after it."""
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert (b"retry-after: 1" in head) is not (b"x-should-retry: false" in head)
    return int(head.split()[1]), str(json.loads(body)["error"]["code"])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("\r\n", 408),
        ("GET /livez HTTP/1.1\r\nhost:", 408),
        ("GET /livez HTTP/1.1\r\n" + "a: b\r\n" * 20_000, 400),
        ("no HTTP\r\n\r\n", 400),
        (HEAD + "content-length: 9\r\n\r\n", 408),
        (HEAD + "content-length: 9\r\n\r\n{", 408),
        (HEAD + "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", 408),
    ],
    ids=["an empty line", "half a head", "a huge head", "no HTTP", "no body", "half a body", "half of chunks"],
)
async def test_what_does_not_arrive_is_not_waited_for(
    impatient: RunningApi, tenant: Tenant, sent: str, status: int
) -> None:
    reader, writer = await connect(impatient)
    writer.write(sent.replace("{key}", tenant.key).encode())
    assert await told(reader) == (status, "request_timeout" if status == 408 else "invalid_request")
    writer.close()
    await eventually(lambda: impatient.open_requests.requests == {}, what="its place is free again")


async def test_a_connection_that_never_says_a_thing_is_closed_without_a_word(impatient: RunningApi) -> None:
    reader, writer = await connect(impatient)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_a_drop_at_a_time_is_not_enough(impatient: RunningApi, tenant: Tenant) -> None:
    reader, writer = await connect(impatient)
    writer.write(HEAD.replace("{key}", tenant.key).encode() + b"content-length: 1000\r\n\r\n")
    answer, started = asyncio.create_task(told(reader)), time.monotonic()
    while not answer.done():
        writer.write(b" ")
        await asyncio.wait([answer], timeout=0.05)
    assert await answer == (408, "request_timeout")
    assert time.monotonic() - started < 3
    writer.close()


@pytest.mark.parametrize(
    "endless",
    [b"0\r\n" + b"a: b\r\n" * 20_000, b"0\r\na: " + b"b" * 100_000, b"1;" + b"b" * 100_000],
    ids=["many trailers", "a long trailer", "a long chunk extension"],
)
async def test_what_stands_around_a_body_is_bounded(make_settings: MakeSettings, endless: bytes) -> None:
    """Without a key: the connection outlives the 401, and what is kept of it would be memory."""
    async with serve_api(make_settings()) as running:
        reader, writer = await connect(running)
        writer.write(b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")
        protocol: Any = next(iter(running.server.server_state.connections))
        headers = len(protocol.headers)
        # In pieces: what one read brings is looked at when it is in.
        for start in range(0, len(endless), 10_000):
            writer.write(endless[start : start + 10_000])
        async with asyncio.timeout(5):
            assert b"are no part of the request's body" in await reader.read()
        assert len(protocol.headers) == headers
        writer.close()


async def test_a_body_in_many_small_chunks_is_taken(impatient: RunningApi, tenant: Tenant) -> None:
    reader, writer = await connect(impatient)
    body = json.dumps({"model": "echo/echo", "input": "x" * 20_000}).encode()
    writer.write(HEAD.replace("{key}", tenant.key).encode() + b"transfer-encoding: chunked\r\n\r\n")
    writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nx-sum: 1\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202")
    writer.close()


async def test_a_connection_is_kept_between_requests_and_closed_when_idle(
    impatient: RunningApi, tenant: Tenant
) -> None:
    reader, writer = await connect(impatient)
    request = f"{HEAD.replace('{key}', tenant.key)}content-length: {len(BODY)}\r\n\r\n{BODY}".encode()
    for _ in range(3):
        # In two pieces, each in its time.
        writer.write(request[:60])
        await asyncio.sleep(0.1)  # a pause that is shorter than the deadline is what this is about
        writer.write(request[60:])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 202")
        length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.startswith(b"content-length"))
        await reader.readexactly(length)
    async with asyncio.timeout(3):
        assert await reader.read() == b""
    writer.close()


async def test_a_wait_is_no_silence(impatient: RunningApi, tenant: Tenant) -> None:
    async with impatient.client(tenant) as client:
        job = (await client.post("/v1/jobs", content=BODY)).json()["id"]
        assert (await client.get(f"/v1/jobs/{job}", params={"wait": "1.2"})).status_code == 200


async def test_who_does_not_read_is_cut(impatient: RunningApi, tenant: Tenant) -> None:
    async with impatient.client(tenant) as client:
        made = await client.post("/v1/jobs", json={"model": "echo/echo", "input": "x" * 1_000_000})
    _, writer = await connect(impatient)
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()
    ask = f"GET {made.headers['location']} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenant.key}\r\n\r\n"
    writer.write(ask.encode() * 20)
    await eventually(lambda: impatient.server.server_state.connections, what="it is connected")
    await eventually(lambda: not impatient.server.server_state.connections, what="it is cut")
    writer.transport.abort()


async def test_connections_beyond_the_most_are_turned_away(impatient: RunningApi) -> None:
    kept = [await connect(impatient) for _ in range(3)]
    await eventually(lambda: len(impatient.server.server_state.connections) == 3)
    reader, writer = await connect(impatient)
    assert await told(reader) == (503, "unavailable")
    for _, each in (*kept, (reader, writer)):
        each.close()
    await eventually(lambda: not impatient.server.server_state.connections)
    async with impatient.client() as client:
        assert (await client.get("/livez")).status_code == 200


async def test_a_peer_that_vanishes_is_found_out_by_the_system(impatient: RunningApi) -> None:
    _, writer = await connect(impatient)
    protocols = impatient.server.server_state.connections
    await eventually(lambda: protocols)
    transport = next(iter(protocols)).transport
    connection = transport.get_extra_info("socket")
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30
    writer.close()
