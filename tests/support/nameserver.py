"""A DNS server on a real UDP socket whose answers a test decides, query by query."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import cast

from aiohttp.resolver import AsyncResolver

A, AAAA = 1, 28
# Says to the nth query (from 1) for a name which addresses it has: none is NXDOMAIN, None is silence.
Says = Callable[[str, int], Sequence[str] | None]


@dataclass
class Nameserver(asyncio.DatagramProtocol):
    """`asked` is every query, in order."""

    says: Says
    port: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    ttl: int = 0
    _transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, end = _question(data)
        self.asked.append((name, kind))
        addresses = self.says(name, sum(1 for asked, of in self.asked if asked == name and of == kind))
        if addresses is not None and self._transport is not None:
            self._transport.sendto(_answer(data, end, kind, addresses, self.ttl), addr)

    def resolver(self, seconds: float = 0.3) -> AsyncResolver:
        """The product's own resolver, pointed here."""
        return AsyncResolver(nameservers=["127.0.0.1"], udp_port=self.port, timeout=seconds, tries=1)


@asynccontextmanager
async def serve_names(says: Says) -> AsyncIterator[Nameserver]:
    """Listens on a free port of the loopback."""
    server = Nameserver(says)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0), family=socket.AF_INET
    )
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()


def _question(query: bytes) -> tuple[str, int, int]:
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode().lower())
        at += length + 1
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    return ".".join(labels), kind, at + 5


def _answer(query: bytes, end: int, kind: int, addresses: Sequence[str], ttl: int) -> bytes:
    wanted = [ip_address(each).packed for each in addresses if (ip_address(each).version == 4) == (kind == A)]
    # An existing name without an address of this kind is no NXDOMAIN.
    flags = 0x8180 if addresses else 0x8183
    header = query[:2] + struct.pack("!HHHHH", flags, 1, len(wanted), 0, 0)
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(each)) + each for each in wanted)
    return header + query[12:end] + records
