"""Sets of IP networks, and the addresses that are nobody's on the internet."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: RFC 1918, 3927, 4193, 4291. Not Python's `is_private`, which takes in Teredo (2001::/32):
#: those addresses are reached from anywhere.
PRIVATE = (
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class NetworkSet:
    """Addresses that are in any of some networks.

    Args:
        networks: Addresses or CIDR ranges, `10.0.0.0/8`, `fd00::/8`. Raises `ValueError` on
            anything else. IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) means the IPv4 network.
    """

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(_plain(ipaddress.ip_network(network)) for network in networks)

    def __contains__(self, text: object) -> bool:
        """Whether *text* is an address in one of the networks; what is no address is in none."""
        if not isinstance(text, str):
            return False
        try:
            address: Address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def overlaps(self, other: NetworkSet) -> bool:
        """Whether some address is in both."""
        return any(
            mine.version == theirs.version and mine.overlaps(theirs)
            for mine in self._networks
            for theirs in other._networks
        )


def _plain(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        base = network.network_address.ipv4_mapped
        assert base is not None
        return ipaddress.IPv4Network((int(base), network.prefixlen - 96))
    return network
