"""Which pictures are read at all: for services, whose users name them."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

_MAX_PIXELS = 64_000_000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
UNREACHABLE = "the host cannot be reached"


@dataclass(frozen=True)
class PicturePolicy:
    """What a client reads; the default suits one's own catalog.

    With `allow_hosts`, URLs of other hosts are refused, also where a host redirects there. With
    `deny_private`, so is every address that is not of the public internet, whatever name leads to
    it: loopback, link-local, private, reserved.
    """

    max_pixels: int = _MAX_PIXELS
    allow_hosts: Collection[str] | None = None
    deny_private: bool = False

    def check_host(self, host: str) -> None:
        """Raise ValueError for the name of a host that is not allowed."""
        allowed = self.allow_hosts
        if allowed is not None and host.casefold() not in {name.casefold() for name in allowed}:
            raise ValueError(f"the host {host!r} is not among those allowed")

    def check_address(self, address: str) -> None:
        """Raise ValueError for a denied address; its text tells no such address from another."""
        # An address of IPv6 can carry its zone, or an IPv4 address.
        found = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(found, ipaddress.IPv6Address):
            found = found.ipv4_mapped or found.sixtofour or _translated(found) or found
        if self.deny_private and not (found.is_global and not found.is_multicast):
            raise ValueError(UNREACHABLE)


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that NAT64 would reach by this one."""
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


ANY_PICTURE = PicturePolicy()
