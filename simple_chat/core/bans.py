"""Bans: who may not come in, by network, by name or both, and until when.

A banned name can't be taken; from a banned network nobody gets in. The text form of a ban is one line, which
the bans file and the cluster's log share::

    ann 192.0.2.7 2026-12-01T00:00:00Z flooding
    - 2001:db8::/64 -
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network

from simple_chat.core.codes import Code
from simple_chat.core.network import Network, format_network, parse_ip, parse_network
from simple_chat.core.text import is_name, name_key, sanitize

_ABSENT = "-"  # no name begins with it


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban.

    Attributes:
        name: that nobody may have, whatever its case; None if any will do.
        network: from which nobody may connect; None if anybody may.
        until: seconds since the epoch, whole; None for ever.
        reason: for people; may be empty.
    """

    name: str | None
    network: Network | None
    until: int | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        """What somebody who is banned is told."""
        reason = self.reason or Code.BANNED.advice
        return reason if self.until is None else f"{reason} (until {format_time(self.until)})"

    def __str__(self) -> str:
        network = _ABSENT if self.network is None else format_network(self.network)
        until = _ABSENT if self.until is None else format_time(self.until)
        return f"{self.name or _ABSENT} {network} {until} {self.reason}".rstrip()


class Bans:
    """The bans of a room. At most one of them is about a name, and one about a network."""

    _names: dict[str, Ban]  # by name key
    _networks: dict[Network, Ban]
    _prefixes: list[tuple[int, int]]  # IP versions and prefix lengths of these, longest first

    def __init__(self) -> None:
        self.replace(())

    def __iter__(self) -> Iterator[Ban]:
        return iter(dict.fromkeys([*self._names.values(), *self._networks.values()]))

    def add(self, ban: Ban) -> None:
        """Add a ban; those of the same name or network are replaced."""
        if ban.name is not None:
            self._discard(self.of_name(ban.name))
            self._names[name_key(ban.name)] = ban
        if ban.network is not None:
            self._discard(self._networks.get(ban.network))
            self._networks[ban.network] = ban
            self._index()

    def replace(self, bans: Iterable[Ban]) -> None:
        """Replace all bans by others."""
        self._names, self._networks, self._prefixes = {}, {}, []
        for ban in bans:
            self.add(ban)

    def find(self, target: str) -> Ban | None:
        """Return the ban of exactly this name or network; None if there is none.

        Raises:
            ValueError: it is neither a name nor a network.
        """
        name, network = parse_target(target)
        return self._networks.get(network) if network is not None else self.of_name(name or "")

    def remove(self, target: str) -> None:
        """Remove the ban of a name or a network, if there is one; it may be of both.

        Raises:
            ValueError: it is neither a name nor a network.
        """
        self._discard(self.find(target))

    def _discard(self, ban: Ban | None) -> None:
        self._names = {key: each for key, each in self._names.items() if each is not ban}
        self._networks = {key: each for key, each in self._networks.items() if each is not ban}
        self._index()

    def _index(self) -> None:
        self._prefixes = sorted({(each.version, each.prefixlen) for each in self._networks}, reverse=True)

    def expire(self, now: float) -> list[Ban]:
        """Remove the bans that are over, and return them.

        Args:
            now: seconds since the epoch.
        """
        over = [each for each in self if each.until is not None and each.until <= now]
        for ban in over:
            self._discard(ban)
        return over

    def of_name(self, name: str) -> Ban | None:
        """Return the ban of a name, if there is one."""
        return self._names.get(name_key(name))

    def of_host(self, host: str) -> Ban | None:
        """Return the ban of the network with the longest prefix that an address is in, if there is one.

        Args:
            host: an IP address, with or without a scope; empty for a Unix socket. Neither these nor loopback
                addresses are ever banned: everybody may be behind them.
        """
        if not (self._networks and host):  # most servers have none
            return None
        address = parse_ip(host)
        if address.is_loopback:
            return None
        for version, prefix in self._prefixes:
            if version == address.version:
                ban = self._networks.get(ip_network((address, prefix), strict=False))
                if ban is not None:
                    return ban
        return None


def parse_target(text: str) -> tuple[str | None, Network | None]:
    """Parse what is to be banned: an IPv4 address, an IPv6 address for its /64, a network as CIDR, or a name.

    Returns:
        The name or the network; the other is None.

    Raises:
        ValueError: it is neither.
    """
    try:
        return None, parse_network(text)
    except ValueError:
        if is_name(text):
            return text, None
        raise ValueError(
            f"{text!r} is neither a name nor an address nor a network such as 192.0.2.0/24"
        ) from None


def format_time(seconds: int) -> str:
    """Return seconds since the epoch as RFC 3339, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_ban(line: str) -> Ban:
    """Parse the text form of a ban.

    Raises:
        ValueError: it is none; the message says what is wrong with it.
    """
    columns = line.split(None, 3)
    if len(columns) < 3:
        raise ValueError(f"{line!r} has not the columns name, network, until and reason")
    _, _, _, reason = (*columns, "")[:4]
    name = None if columns[0] == _ABSENT else columns[0]
    network = None if columns[1] == _ABSENT else parse_network(columns[1])
    if (name is not None and not is_name(name)) or (name is None and network is None):
        raise ValueError(f"{line!r} bans neither a name nor a network")
    return Ban(name, network, _parse_until(columns[2]), sanitize(reason).strip())


def _parse_until(text: str) -> int | None:
    if text == _ABSENT:
        return None
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp())
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time such as 2026-12-01T00:00:00Z") from None
