"""Who the client is when a trusted proxy stands in front: X-Forwarded-For, read with care."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The networks whose word about their client is taken.

    Args:
        networks: Addresses or CIDR ranges, such as `10.0.0.0/8`. Raises `ValueError` on others.
    """

    __slots__ = ("_networks",)

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks: tuple[Network, ...] = tuple(
            ipaddress.ip_network(network, strict=False) for network in networks
        )

    def trusts(self, address: str) -> bool:
        """Whether *address* is inside one of the networks."""
        if not self._networks:
            return False
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client(self, peer: str, forwarded_for: bytes) -> str:
        """Return the right-most address that no trusted proxy has.

        Args:
            peer: The connection's own address, already found trusted.
            forwarded_for: All X-Forwarded-For values, joined with commas.

        What stands to the left of it was written by the client and proves nothing. An
        entry that is no address ends the walk: the last good one is all that is known.
        """
        last = peer
        for entry in reversed(forwarded_for.split(b",")):
            parsed = _parse(entry.decode("latin-1").strip())
            if parsed is None:
                return last
            last = str(parsed)
            if not any(parsed in network for network in self._networks):
                return last
        return last


@lru_cache(maxsize=1024)
def _parse(text: str) -> Address | None:
    """Return the address in *text*, which may carry a port, brackets or a mapped IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
