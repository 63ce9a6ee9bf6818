"""Where a webhook may not go, in every way of writing it that a socket understands."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.webhooks.egress.addresses import Network, is_allowed

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1",
          "192.167.255.255", "169.253.255.255", "11.0.0.1", "223.255.255.255",
          "2606:4700:4700::1111", "2a00:1450:4001:82a::200e", "2400:cb00::1", "::ffff:1.1.1.1"]  # fmt: skip
LOCAL = ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "::",
         "0.0.0.0", "0.1.2.3"]  # fmt: skip  # noqa: S104 - to be refused
PRIVATE = ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255",
           "198.18.0.1", "198.19.255.255", "fc00::1", "fd12:3456::1", "fdff::1", "fec0::1", "::ffff:10.0.0.1",
           "::ffff:192.168.1.1"]  # fmt: skip
TRANSLATED = ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::",
              "2002:a9fe:a9fe::1", "2001::1", "2001:0:7f00:1::", "100::1", "100:0:0:1::1"]  # fmt: skip
SPECIAL = ["192.0.0.1", "192.0.0.9", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1",
           "239.255.255.255", "240.0.0.1", "255.255.255.255", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "5f00::1",
           "2001:2::1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1"]  # fmt: skip
# Clouds' own: AWS, Google, Azure, Oracle, Alibaba, ECS, OpenStack; and link-local as a whole.
METADATA = ["169.254.169.254", "169.254.170.2", "169.254.0.1", "169.254.255.255", "168.63.129.16", "100.100.100.200",
            "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::a9fe:a9fe", "fe80::1%eth0",
            "::ffff:169.254.169.254", "::ffff:a9fe:a9fe"]  # fmt: skip
NO_ADDRESS = ["", "localhost", "example.com", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "1.1.1.1:80",
              "[::1]", "1.1.1.1/32", "1.1.1.1 ", "①②⑦.0.0.1", "127。0。0。1", "%", "::1::"]  # fmt: skip
EVERYTHING: list[Network] = [ip_network("0.0.0.0/0"), ip_network("::/0")]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert is_allowed(address, [])


@pytest.mark.parametrize("address", [*LOCAL, *PRIVATE, *TRANSLATED, *SPECIAL, *METADATA])
def test_nothing_else_may_be_reached(address: str) -> None:
    assert not is_allowed(address, [])


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_address_is_refused_and_not_guessed(address: str) -> None:
    assert not is_allowed(address, EVERYTHING)


@pytest.mark.parametrize("address", [*LOCAL, *PRIVATE])
def test_an_operator_may_open_a_range(address: str) -> None:
    assert is_allowed(address, EVERYTHING)


@pytest.mark.parametrize("address", METADATA)
def test_the_machines_credentials_stay_closed_whatever_is_opened(address: str) -> None:
    assert not is_allowed(address, EVERYTHING)


def test_what_is_opened_is_the_range_and_no_more() -> None:
    opened: list[Network] = [ip_network("10.1.0.0/16"), ip_network("fd12::/16")]

    assert [is_allowed(each, opened) for each in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1")] == [True] * 3
    assert [is_allowed(each, opened) for each in ("10.2.0.1", "127.0.0.1", "fd13::1", "::1")] == [False] * 4


@given(st.ip_addresses(v=4))
def test_the_mapped_form_is_judged_as_what_it_reaches(address: object) -> None:
    assert is_allowed(f"::ffff:{address}", []) is is_allowed(str(address), [])


@given(st.text(max_size=40))
def test_any_text_gets_an_answer(text: str) -> None:
    assert is_allowed(text, []) in (True, False)
