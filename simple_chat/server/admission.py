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
    """What a connection occupies: together with all others of its network, or by itself if it is refused.

    Attributes:
        network: as `simple_chat.core.network.network_of` returns it.
        refusal: why it is refused, with the limit and its value; empty if it is admitted.
        count: the number of its connections.
    """

    network: Network | None
    refusal: str = ""
    count: int = 0

    @property
    def admitted(self) -> bool:
        """Whether its connections are admitted; otherwise they are answered with an error."""
        return not self.refusal


class Admission:
    """Count connections and enforce the limits.

    Args:
        max_clients: connections that are admitted at a time.
        max_per_ip: of these, connections from one network.
        counters: counts those that are accepted, and those that are not by the limit.
        source: where `max_clients` comes from, for people.

    Attributes:
        max_clients: as given.
        admitted: connections at present.
        refused: connections that are refused, and still read why.
    """

    def __init__(
        self,
        max_clients: int,
        max_per_ip: int,
        counters: Counters,
        *,
        source: str = f"--{MAX_CLIENTS_OPTION}",
    ) -> None:
        self._counters = counters
        self.admitted = 0
        self.refused = 0
        self._slots: dict[Network | None, Slot] = {}
        self.change_limits(max_clients, max_per_ip, source=source)

    def change_limits(self, max_clients: int, max_per_ip: int, *, source: str) -> None:
        """Change the limits. Connections that are beyond them stay."""
        self.max_clients = max_clients
        self._max_per_ip = max_per_ip
        self._source = source

    def acquire(self, network: Network | None, *, ban: str = "") -> Slot:
        """Count a connection.

        Args:
            network: where it comes from, as `simple_chat.core.network.network_of` returns it.
            ban: the ban that keeps it out; empty for none.

        Returns:
            Its slot, to be released.
        """
        slot = self._slots.get(network) or Slot(network)
        limit = BANNED if ban else self._limit_reached(slot)
        if limit:
            self._counters.refused[limit] += 1
            self.refused += 1
            return Slot(network, ban or self._describe(limit), 1)
        self._counters.accepted += 1
        self._slots[network] = slot
        self.admitted += 1
        slot.count += 1
        return slot

    @property
    def answers_no_more(self) -> bool:
        """Whether so many connections are refused at present that the next ones are not told why."""
        return self.refused > _MAX_REFUSED

    def _limit_reached(self, slot: Slot) -> str:
        """Return the option whose limit one more connection would exceed; empty if there is none."""
        if self.admitted >= self.max_clients:
            return MAX_CLIENTS_OPTION
        if slot.network is not None and slot.count >= self._max_per_ip:
            return MAX_PER_IP_OPTION
        return ""

    def _describe(self, limit: str) -> str:
        if limit == MAX_CLIENTS_OPTION:
            return f"full: {self.admitted} of {self.max_clients} connections ({self._source})"
        return f"{self._max_per_ip} connections from its address already (--{MAX_PER_IP_OPTION})"

    def release(self, slot: Slot) -> None:
        """Uncount a connection."""
        slot.count -= 1
        if not slot.admitted:
            self.refused -= 1
            return
        self.admitted -= 1
        if not slot.count:
            del self._slots[slot.network]
