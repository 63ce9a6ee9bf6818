"""Which addresses a webhook may reach. Pure; post.py asks it about the address that a socket is about to use.

Python's `is_global` calls several metadata services, NAT64 and 6to4 forms and all of multicast global, and differs
between versions, so the table is our own: the IANA special-purpose registries plus the cloud metadata addresses.
https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_DENIED: Final = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
# Never opened, whatever an operator allows: the credentials of the machine itself.
_METADATA: Final = tuple(
    ip_network(each)
    for each in (
        "169.254.0.0/16",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
        "fe80::/10",
    )
)


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside `::ffff:a.b.c.d`, which reaches the same host."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_allowed(text: str, allowed: Sequence[Network]) -> bool:
    """Whether a socket may connect to the address `text`; `allowed` are the operator's own ranges."""
    try:
        address = unwrapped(ip_address(text.partition("%")[0]))
    except ValueError:
        return False
    if _inside(address, _METADATA):
        return False
    return _inside(address, allowed) or not _inside(address, _DENIED)


def _inside(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
