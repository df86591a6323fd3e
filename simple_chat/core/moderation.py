"""What operators order: to kick, to ban, to unban. As lines, orders have a place in a cluster's log."""

from dataclasses import dataclass

from simple_chat.core.bans import Ban, Bans, parse_ban

_KICK = b"KICK "
_BAN = b"BAN "
_UNBAN = b"UNBAN "


@dataclass(frozen=True, slots=True)
class Kick:
    """Disconnect a member.

    Attributes:
        name: of the member.
        reason: for people; may be empty.
    """

    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AddBan:
    """Ban a name, a network or both."""

    ban: Ban


@dataclass(frozen=True, slots=True)
class RemoveBan:
    """Lift the ban of a name or a network."""

    target: str


Order = Kick | AddBan | RemoveBan


def encode_order(order: Order) -> bytes:
    """Return an order as a line, with its LF."""
    if isinstance(order, Kick):
        return _KICK + f"{order.name} {order.reason}".rstrip().encode() + b"\n"
    if isinstance(order, AddBan):
        return _BAN + f"{order.ban}\n".encode()
    return _UNBAN + f"{order.target}\n".encode()


def is_order(line: bytes) -> bool:
    """Return whether a line is an order."""
    return line.startswith((_KICK, _BAN, _UNBAN))


def parse_order(line: bytes) -> Order:
    """Parse what `encode_order` returned."""
    verb, _, rest = line.decode().removesuffix("\n").partition(" ")
    if verb == "KICK":
        name, _, reason = rest.partition(" ")
        return Kick(name, reason)
    return AddBan(parse_ban(rest)) if verb == "BAN" else RemoveBan(rest)


def apply_order(order: Order, bans: Bans) -> None:
    """Do what an order does to the bans; whom it concerns is disconnected elsewhere."""
    match order:
        case AddBan(ban):
            bans.add(ban)
        case RemoveBan(target):
            bans.remove(target)
