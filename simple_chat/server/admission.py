"""Connection limits: in total, and for each network.

Pure.
"""

from dataclasses import dataclass

from simple_chat.core.counters import Counters
from simple_chat.core.network import Network

MAX_CLIENTS_OPTION = "max-clients"
MAX_PER_IP_OPTION = "max-per-ip"
BANNED = "banned"

MAX_PER_IP = 32
"""Connections from one address, by default: a household or an office behind one NAT router."""

_MAX_REFUSED = 48
"""Refused connections at a time that get an error; each holds a file descriptor until it has read it."""


@dataclass(slots=True)
class Slot:
    """What a connection occupies, together with all others of its network or with all refused ones.

    Attributes:
        network: as `simple_chat.core.network.network_of` returns it.
        admitted: whether its connections are admitted; otherwise they are answered with an error.
        count: the number of its connections.
    """

    network: Network | None
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
        admitted: connections at present.
    """

    def __init__(self, max_clients: int, max_per_ip: int, counters: Counters) -> None:
        self.max_clients = max_clients
        self._max_per_ip = max_per_ip
        self._counters = counters
        self.admitted = 0
        self._slots: dict[Network | None, Slot] = {}
        self._refused = Slot(None, admitted=False)

    @property
    def refused(self) -> int:
        """Connections that are refused, and still read why."""
        return self._refused.count

    def change_limits(self, max_clients: int, max_per_ip: int) -> None:
        """Change the limits. Connections that are beyond them stay."""
        self.max_clients = max_clients
        self._max_per_ip = max_per_ip

    def acquire(self, network: Network | None, *, banned: bool = False) -> Slot | None:
        """Count a connection.

        Args:
            network: where it comes from, as `simple_chat.core.network.network_of` returns it.
            banned: whether it is to be refused in any case.

        Returns:
            Its slot, to be released; None if there are too many connections even for an error.
        """
        slot = self._slots.get(network) or Slot(network, admitted=True)
        if limit := BANNED if banned else self._limit_reached(slot):
            self._counters.refused[limit] += 1
            slot = self._refused
            if slot.count >= _MAX_REFUSED:
                return None
        else:
            self._counters.accepted += 1
            self._slots[network] = slot
            self.admitted += 1
        slot.count += 1
        return slot

    def _limit_reached(self, slot: Slot) -> str:
        """Return the option whose limit one more connection would exceed; empty if there is none."""
        if self.admitted >= self.max_clients:
            return MAX_CLIENTS_OPTION
        if slot.network is not None and slot.count >= self._max_per_ip:
            return MAX_PER_IP_OPTION
        return ""

    def release(self, slot: Slot) -> None:
        """Uncount a connection."""
        slot.count -= 1
        if slot.admitted:
            self.admitted -= 1
            if not slot.count:
                del self._slots[slot.network]
