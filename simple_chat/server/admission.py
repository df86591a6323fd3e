"""Connection limits: in total, and for each network.

Pure.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from simple_chat.core.counters import Counters

MAX_CLIENTS_OPTION = "max-clients"
MAX_PER_IP_OPTION = "max-per-ip"

MAX_PER_IP = 32
"""Connections from one address, by default: a household or an office behind one NAT router."""

_MAX_REFUSED = 48
"""Refused connections at a time that get an error; each holds a file descriptor until it has read it."""


@dataclass(slots=True)
class Slot:
    """What a connection occupies, together with all others of its network or with all refused ones.

    Attributes:
        network: as `network_of` returns it.
        admitted: whether its connections are admitted; otherwise they are answered with an error.
        count: the number of its connections.
    """

    network: str | None
    admitted: bool
    count: int = 0


class Admission:
    """Count connections and enforce the limits.

    Args:
        max_clients: connections that are admitted at a time.
        max_per_ip: of these, connections from one network.
        counters: counts those that are accepted, and those that are not by the limit.

    Attributes:
        max_clients: as given.
    """

    def __init__(self, max_clients: int, max_per_ip: int, counters: Counters) -> None:
        self.max_clients = max_clients
        self._max_per_ip = max_per_ip
        self._counters = counters
        self._admitted = 0
        self._slots: dict[str | None, Slot] = {}
        self._refused = Slot(None, admitted=False)

    def acquire(self, network: str | None) -> Slot | None:
        """Count a connection.

        Args:
            network: where it comes from, as `network_of` returns it.

        Returns:
            Its slot, to be released; None if there are too many connections even for an error.
        """
        slot = self._slots.get(network) or Slot(network, admitted=True)
        if limit := self._limit_reached(slot):
            self._counters.refused[limit] += 1
            slot = self._refused
            if slot.count >= _MAX_REFUSED:
                return None
        else:
            self._counters.accepted += 1
            self._slots[network] = slot
            self._admitted += 1
        slot.count += 1
        return slot

    def _limit_reached(self, slot: Slot) -> str:
        """Return the option whose limit one more connection would exceed; empty if there is none."""
        if self._admitted >= self.max_clients:
            return MAX_CLIENTS_OPTION
        if slot.network is not None and slot.count >= self._max_per_ip:
            return MAX_PER_IP_OPTION
        return ""

    def release(self, slot: Slot) -> None:
        """Uncount a connection."""
        slot.count -= 1
        if slot.admitted:
            self._admitted -= 1
            if not slot.count:
                del self._slots[slot.network]


def network_of(host: str) -> str | None:
    """Return the network that a connection is counted for.

    Args:
        host: an IP address, with or without a scope; empty for a Unix socket.

    Returns:
        An IPv4 address, or the /64 that an IPv6 customer usually has (RFC 6177). None for this machine's own
        addresses and Unix sockets, which are not limited by network.
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
