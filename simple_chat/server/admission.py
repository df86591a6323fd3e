"""Who is let in: how many connections there may be, in all and from one network.

Pure.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

MAX_PER_IP = 32
"""Connections from one address, by default: a household or an office behind one router."""

_MAX_REFUSED = 48
"""Connections that are refused and told so at a time. They hold a descriptor until they have read it."""


@dataclass(slots=True)
class Slot:
    """Where a connection is counted, with all others of its network or all that are refused.

    Attributes:
        network: as `network_of` tells it.
        admitted: whether they are let in. Who is not is told that there is no room.
        count: how many there are.
    """

    network: str | None
    admitted: bool
    count: int = 0


class Admission:
    """Counts connections.

    Args:
        max_clients: how many may be let in.
        max_per_ip: how many of them from one network.
    """

    def __init__(self, max_clients: int, max_per_ip: int) -> None:
        self._max_clients = max_clients
        self._max_per_ip = max_per_ip
        self._admitted = 0
        self._slots: dict[str | None, Slot] = {}
        self._refused = Slot(None, admitted=False)

    def acquire(self, network: str | None) -> Slot | None:
        """Count a connection.

        Args:
            network: where it comes from; see `network_of`.

        Returns:
            None if there are too many even to be told that there are too many.
        """
        slot = self._slots.get(network) or Slot(network, admitted=True)
        if self._admitted < self._max_clients and (network is None or slot.count < self._max_per_ip):
            self._slots[network] = slot
            self._admitted += 1
        elif self._refused.count < _MAX_REFUSED:
            slot = self._refused
        else:
            return None
        slot.count += 1
        return slot

    def release(self, slot: Slot) -> None:
        """Take back what `enter` counted."""
        slot.count -= 1
        if slot.admitted:
            self._admitted -= 1
            if not slot.count:
                del self._slots[slot.network]


def network_of(host: str) -> str | None:
    """Tell whose connection it is, as far as an address can.

    Args:
        host: an IP address, perhaps with a scope; or empty, for a Unix socket.

    Returns:
        An IPv4 address, or the /64 that one user of IPv6 has as a rule (RFC 6177). None for this machine's
        own, whose users are not told apart by it.
    """
    if not host:
        return None
    address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
