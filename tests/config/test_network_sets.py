"""Sets of networks: who is in them, in whatever way an address is written."""

from __future__ import annotations

import pytest

from tidegate.config.listen_address import split_listen
from tidegate.config.networks import PRIVATE, NetworkSet


@pytest.mark.parametrize(
    ("networks", "address", "is_in"),
    [
        (("10.0.0.0/8",), "10.255.255.255", True),
        (("10.0.0.0/8",), "11.0.0.0", False),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", True),
        (("::ffff:10.0.0.0/104",), "10.9.9.9", True),
        (("::ffff:10.0.0.0/104",), "11.9.9.9", False),
        (("fd00::/8",), "fd12:3456::1", True),
        (("fd00::/8",), "fe80::1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("192.0.2.7",), "192.0.2.7", True),
        (("0.0.0.0/0",), "::1", False),
        (("0.0.0.0/0",), "", False),
        (("0.0.0.0/0",), "not an address", False),
        ((), "127.0.0.1", False),
    ],
)
def test_an_address_is_in_a_set_however_it_is_written(
    networks: tuple[str, ...], address: str, is_in: bool
) -> None:
    """IPv4 in IPv6 is the IPv4 address; what is no address is in no set."""
    assert (address in NetworkSet(networks)) is is_in


@pytest.mark.parametrize(
    ("address", "is_private"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.1.1", True),
        ("169.254.10.10", True),
        ("fc00::1", True),
        ("100.64.0.1", False),
        ("2001::1", False),
        ("2002:0a00:0001::", False),
        ("::", False),
        ("0.0.0.0", False),
        ("203.0.113.1", False),
    ],
)
def test_private_is_what_nobody_can_reach_us_from_outside_by(
    address: str, is_private: bool
) -> None:
    """Teredo and 6to4 addresses are on the internet, whatever is wrapped in them."""
    assert (address in NetworkSet(PRIVATE)) is is_private


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        ("[::1]:9464", "::1", 9464),
        ("[0:0:0:0:0:0:0:0]:0", "::", 0),
        ("metrics.internal:1", "metrics.internal", 1),
    ],
)
def test_a_listen_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    """IPv6 stands in brackets there and without them here."""
    assert split_listen(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", ":9464", "9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:٣", "[::1]",
     "[::1:9464", "[1.2.3.4]:5", "::1:9464", "a b:1", "999.1.1.1:1"],
)  # fmt: skip
def test_what_is_no_listen_address_is_refused(text: str) -> None:
    """Nothing is guessed, neither a port nor all addresses."""
    with pytest.raises(ValueError, match=r"host|IPv6|brackets"):
        split_listen(text)
