"""No way of writing, resolving or redirecting leads a webhook to an address that it may not reach.

What counts is not what is answered: a listener waits on the forbidden addresses, and every connect of this process is
seen. 127.0.0.2 stands for the public receiver; everything else of this machine is forbidden.
"""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from core.domain.errors import InvalidParameter
from core.domain.ids import TenantId, new_uuid
from core.settings import WebhookSettings
from core.webhooks.egress.exchange import Answered, NoAnswer, NoPlace
from core.webhooks.egress.post import Egress
from core.webhooks.egress.url_policy import check_url
from tests.support.nameserver import Says, serve_names

TENANT = TenantId(new_uuid())
PUBLIC = "127.0.0.2"
OPEN = f"{PUBLIC}/32"
NAME = "hooks.test"

LOOPBACK = (
    "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001",
    "0x7f.1", "0x7f.0x0.0x0.0x1", "017700000001", "0177.0.0.1", "0177.1", "127.0.0.1%00", "0", "0.0.0.0", "00000",  # noqa: S104 - to be refused
    "①②⑦.⓪.⓪.①", "127。0。0。1", "\uff11\uff12\uff17.0.0.1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]",
    "[::1%25lo]", "[2001:0:7f00:1::]", "[fe80::5efe:127.0.0.1]", "127.0.0.3", "127.255.255.254",
)  # fmt: skip
ELSEWHERE = (
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "169.254.170.2", "2852039166",
    "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]", "168.63.129.16", "192.0.0.192", "100.100.100.200", "[fd00:ec2::254]", "[fd20:ce::254]",
    "224.0.0.251", "239.255.255.250", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.88.99.1", "[ff02::1]",
    "[fc00::1]", "[fec0::1]", "[3fff::1]", "[5f00::1]", "[100::1]",
)  # fmt: skip
# What another parser would read another host out of.
TRICKS = (
    f"http://{PUBLIC}@127.0.0.1:{{port}}/", f"http://{PUBLIC}:80@127.0.0.1:{{port}}/", "http://127.0.0.1:{port}\\@x/",
    f"http://{PUBLIC}\\@127.0.0.1:{{port}}/", f"http://127.0.0.1:{{port}}#@{PUBLIC}/", "http:\\\\127.0.0.1:{port}/",
    f"http://127.0.0.1:{{port}}?@{PUBLIC}/", f"http://{PUBLIC}#@127.0.0.1:{{port}}/", "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/", "http://127.0.0.1:{port}:80/", "http://127.0.0.1:/", "http://127.0.0.1:0/",
    "http://127.0.0.1:65536/", "http://127.0.0.1:-1/", "http://127.0.0.1\t:{port}/", "http://127.0.0.1\r\n:{port}/",
    "http://127.0.0.1:{port}/\r\nhost: x", " http://127.0.0.1:{port}/", "http://127.0.0.1:{port}/ ",
    "\x00http://127.0.0.1:{port}/", "http://127.0.0.1\x00.example:{port}/", "http://[::1:{port}/", "http://[127.0.0.1]:{port}/",
    "http://" + "a" * 70 + ".example:{port}/", "http://" + "a." * 130 + "example:{port}/", "//127.0.0.1:{port}/",
    "file:///etc/passwd", "gopher://127.0.0.1:{port}/_POST", "ftp://127.0.0.1:{port}/", "data:text/plain,x",
    "unix:///run/redis.sock", "http+unix://%2Frun%2Fredis.sock/", "jar:http://127.0.0.1:{port}!/", "dict://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/", "HTTP://127.0.0.1:{port}/", "http://%31%32%37.0.0.1:{port}/", "http://127.0.0.1%2f:{port}/",
)  # fmt: skip
_seen: list[tuple[Any, ...]] = []
_watching = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "socket.connect" and isinstance(arguments[1], tuple):
        _seen.append(arguments[1])


sys.addaudithook(_audit)


@pytest.fixture
def connects() -> Iterator[list[tuple[Any, ...]]]:
    """Every address that this process connects to by IP, from here to the test's end."""
    global _watching  # noqa: PLW0603 - an audit hook can't be taken out again
    _seen.clear()
    _watching = True
    yield _seen
    _watching = False


@dataclass
class Listener:
    """Waits on one port of several addresses: `reached` is who got a connection."""

    port: int = 0
    reached: list[str] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    requests: list[bytes] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.append(str(writer.get_extra_info("sockname")[0]))
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.answer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    @property
    def forbidden(self) -> list[str]:
        return [address for address in self.reached if address != PUBLIC]


@asynccontextmanager
async def listen() -> AsyncIterator[Listener]:
    listener = Listener()
    async with AsyncExitStack() as stack:
        for address in (PUBLIC, "127.0.0.1", "127.0.0.3", "127.255.255.254", "::1"):
            server = await asyncio.start_server(listener.take, address, listener.port or None)
            stack.callback(server.close)
            listener.port = server.sockets[0].getsockname()[1]
        yield listener


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listen() as listening:
        yield listening


def settings(*cidrs: str, connect: float = 0.05) -> WebhookSettings:
    return WebhookSettings.model_validate(
        {
            "allow_http": True,
            "allow_cidrs": cidrs,
            "connect_timeout_seconds": connect,
            "timeout_seconds": connect + 1,
            "per_address": 1000,
        }
    )


@asynccontextmanager
async def egress(says: Says | None = None, *cidrs: str, connect: float = 0.05) -> AsyncIterator[Egress]:
    """`says` is the DNS; without it, names are this machine's affair."""
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(serve_names(says)) if says else None
        resolver = names.resolver(connect) if names else None
        yield await stack.enter_async_context(Egress(settings(*(cidrs or (OPEN,)), connect=connect), resolver))


def only_allowed(connects: Sequence[tuple[Any, ...]], *allowed: str) -> bool:
    return all(
        ip_address(address[0].partition("%")[0]) in {ip_address(each) for each in allowed} for address in connects
    )


def refused_at_registration(url: str) -> bool:
    try:
        check_url(url, settings(OPEN), "url")
    except InvalidParameter:
        return True
    return False


# Each payload is tried past the policy too: what protects is the socket.
async def test_no_way_of_writing_an_address_reaches_it(listener: Listener, connects: list[tuple[Any, ...]]) -> None:
    async with egress() as out:

        async def posts(host: str) -> list[Answered | NoAnswer | NoPlace]:
            url = f"http://{host}:{listener.port}/hook"
            return list(await asyncio.gather(*(out.post(url, {}, b"{}", tenant_id=TENANT) for _ in range(3))))

        hosts = [*LOOPBACK, *ELSEWHERE]
        found = dict(zip(hosts, await asyncio.gather(*map(posts, hosts)), strict=True))
    for host, answers in found.items():
        assert all(isinstance(answer, NoAnswer) and answer.problem == "unreachable" for answer in answers), host
    assert len(found) > 60
    assert listener.reached == []
    assert connects == []


async def test_these_ways_do_reach_it_where_it_is_allowed(listener: Listener) -> None:
    """Otherwise the test above would say nothing."""
    reached = {}
    async with egress(None, "0.0.0.0/0", "::/0") as out:
        for host in LOOPBACK:
            before = len(listener.reached)
            await out.post(f"http://{host}:{listener.port}/hook", {}, b"{}", tenant_id=TENANT)
            reached[host] = len(listener.reached) > before
    assert {"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.3"} <= {
        host for host, came in reached.items() if came
    }


async def test_no_malformed_url_reaches_it(listener: Listener, connects: list[tuple[Any, ...]]) -> None:
    urls = [trick.format(port=listener.port) for trick in TRICKS]
    async with egress() as out:
        await asyncio.gather(*(out.post(url, {}, b"{}", tenant_id=TENANT) for url in urls * 2))
    assert len(set(urls)) > 35
    assert listener.forbidden == []
    assert only_allowed(connects, PUBLIC), connects
    assert [url for url in urls if not refused_at_registration(url)] == []


ANSWERS: dict[str, Says] = {
    "private": lambda _name, _n: ["127.0.0.1"],
    "private among public": lambda _name, _n: [PUBLIC, "127.0.0.1", "127.0.0.3"],
    "public among private": lambda _name, _n: ["127.0.0.1", "127.0.0.3", PUBLIC],
    "rebinding": lambda _name, n: [PUBLIC] if n == 1 else ["127.0.0.1"],
    "rebinding back": lambda _name, n: ["127.0.0.1"] if n == 1 else [PUBLIC],
    "rebinding in turn": lambda _name, n: [PUBLIC] if n % 2 else ["127.0.0.1"],
    "AAAA alone": lambda _name, _n: ["::1"],
    "AAAA mapped": lambda _name, _n: ["::ffff:127.0.0.1"],
    "both private": lambda _name, _n: ["127.0.0.1", "::1"],
    "metadata": lambda _name, _n: ["169.254.169.254"],
    "NAT64": lambda _name, _n: ["64:ff9b::7f00:1"],
    "unspecified": lambda _name, _n: ["0.0.0.0"],  # noqa: S104 - to be refused
    "NXDOMAIN": lambda _name, _n: [],
    "silent": lambda _name, _n: None,
}


@pytest.mark.parametrize("says", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("at_once", [1, 20])
async def test_no_answer_of_a_nameserver_leads_to_it(
    listener: Listener, connects: list[tuple[Any, ...]], says: Says, at_once: int
) -> None:
    async with egress(says) as out:
        for _ in range(4):
            await asyncio.gather(
                *(out.post(f"http://{NAME}:{listener.port}/", {}, b"{}", tenant_id=TENANT) for _ in range(at_once))
            )
    assert listener.forbidden == []
    assert only_allowed(connects, PUBLIC), connects


async def test_a_thousand_rebindings_lead_nowhere(listener: Listener, connects: list[tuple[Any, ...]]) -> None:
    # Without keep-alive each request asks the nameserver anew.
    listener.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    turns = itertools.cycle(([PUBLIC], ["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], ["::1"]))
    async with egress(lambda _name, _n: next(turns), connect=0.5) as out:
        url = f"http://{NAME}:{listener.port}/"
        answers: list[Answered | NoAnswer | NoPlace] = []
        for _ in range(4):
            answers += await asyncio.gather(*(out.post(url, {}, b"{}", tenant_id=TENANT) for _ in range(250)))
    assert len(answers) == 1000
    assert listener.forbidden == []
    assert only_allowed(connects, PUBLIC)
    # Some of them were let through, to where they may go; where the answer came too late, the listener was reached too.
    assert 0 < sum(isinstance(answer, Answered) for answer in answers) <= len(listener.reached)


HEADERS = (
    "location: http://127.0.0.1:{port}/", "location: //127.0.0.1:{port}/", "location: http://localhost:{port}/",
     'alt-svc: h2="127.0.0.1:{port}"; ma=3600; persist=1', "refresh: 0; url=http://127.0.0.1:{port}/",
     "location: http://127.0.0.1:{port}/\r\nconnection: close",
)  # fmt: skip


async def test_no_answer_of_a_receiver_leads_to_it(listener: Listener, connects: list[tuple[Any, ...]]) -> None:
    asked = 0
    async with egress() as out:
        for status, header in itertools.product((200, 300, 301, 302, 303, 305, 307, 308), HEADERS):
            said = header.format(port=listener.port)
            listener.answer = f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{said}\r\n\r\n".encode()
            for _ in range(2):
                answer = await out.post(f"http://{PUBLIC}:{listener.port}/", {}, b"{}", tenant_id=TENANT)
                assert isinstance(answer, Answered)
                assert answer.status == status
                asked += 1
    assert listener.forbidden == []
    assert only_allowed(connects, PUBLIC)
    assert len(listener.requests) == asked == 96


async def test_a_kept_connection_is_to_where_it_was_checked(
    listener: Listener, connects: list[tuple[Any, ...]]
) -> None:
    async with egress(ANSWERS["rebinding"]) as out:
        for _ in range(3):
            assert isinstance(await out.post(f"http://{NAME}:{listener.port}/", {}, b"{}", tenant_id=TENANT), Answered)
        assert listener.reached == [PUBLIC]
        listener.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        await out.post(f"http://{NAME}:{listener.port}/", {}, b"{}", tenant_id=TENANT)
        # Now a new connection has to be made, and the name leads elsewhere.
        assert isinstance(await out.post(f"http://{NAME}:{listener.port}/", {}, b"{}", tenant_id=TENANT), NoAnswer)
    assert listener.forbidden == []
    assert only_allowed(connects, PUBLIC)


async def test_the_environment_changes_nothing(
    listener: Listener, connects: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = f"http://127.0.0.1:{listener.port}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY"):
        monkeypatch.setenv(name, proxy)
        monkeypatch.setenv(name.lower(), proxy)
    monkeypatch.setenv("NO_PROXY", "")
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine {PUBLIC} login somebody password secret\ndefault login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    async with egress() as out:
        assert isinstance(await out.post(f"http://{PUBLIC}:{listener.port}/", {}, b"{}", tenant_id=TENANT), Answered)
        await out.post("http://127.0.0.1:1/", {}, b"{}", tenant_id=TENANT)
        await out.post("https://127.0.0.1:1/", {}, b"{}", tenant_id=TENANT)
    assert listener.forbidden == []
    assert only_allowed(connects, PUBLIC)
    assert b"authorization" not in listener.requests[0].lower()


async def test_what_an_operator_opens_is_open_and_metadata_is_not(listener: Listener) -> None:
    async with egress(None, "0.0.0.0/0", "::/0") as out:
        assert isinstance(await out.post(f"http://127.0.0.1:{listener.port}/", {}, b"{}", tenant_id=TENANT), Answered)
        for host in (
            "169.254.169.254",
            "[::ffff:169.254.169.254]",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "192.0.0.192",
        ):
            answer = await out.post(f"http://{host}/latest/meta-data/", {}, b"{}", tenant_id=TENANT)
            assert isinstance(answer, NoAnswer)
            assert answer.reason == "Blocked", host
