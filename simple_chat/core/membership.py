"""Who is in the room, on which server, and whether comings and goings are announced."""

from collections.abc import Iterator
from dataclasses import dataclass

from simple_chat.core.codes import Code
from simple_chat.core.text import name_key
from simple_chat.errors import CommandError

PRESENCE_LIMIT = 1_000
"""Members up to which JOINED and LEFT are announced, by default."""

LOCAL = ""
"""The node of members that are connected to this server."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """Somebody in the room.

    Attributes:
        name: as typed.
        node: the server it is connected to; `LOCAL` for this one.
    """

    name: str
    node: str = LOCAL


class Membership:
    """The members of a room, in the order of their joining. Names are unique whatever their case.

    Args:
        presence_limit: members up to which JOINED and LEFT are announced.

    Attributes:
        presence_limit: the same; it may change at any time.
    """

    def __init__(self, presence_limit: int = PRESENCE_LIMIT) -> None:
        self.presence_limit = presence_limit
        self._members: dict[str, Member] = {}  # by name key
        self._names: tuple[str, ...] | None = ()  # None when out of date

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    @property
    def presence_announced(self) -> bool:
        """Whether JOINED and LEFT are announced at this number of members."""
        return len(self._members) <= self.presence_limit

    def names(self) -> tuple[str, ...]:
        """Return the names of all members, as typed; those connected to this server come first."""
        if self._names is None:
            self._names = tuple([each.name for each in sorted(self, key=lambda each: each.node != LOCAL)])
        return self._names

    def is_taken(self, name: str) -> bool:
        """Whether a member has this name, whatever its case."""
        return name_key(name) in self._members

    def find(self, name: str) -> Member | None:
        """Return the member that has this name, whatever its case."""
        return self._members.get(name_key(name))

    def of_node(self, node: str) -> list[Member]:
        """Return the members that are connected to one server."""
        return [member for member in self if member.node == node]

    def add(self, member: Member) -> None:
        """Add a member.

        Raises:
            CommandError: name-taken.
        """
        if self.is_taken(member.name):
            raise CommandError(Code.NAME_TAKEN)
        self._members[name_key(member.name)] = member
        self._names = None

    def remove(self, member: Member) -> None:
        """Remove a member; its name is free at once."""
        del self._members[name_key(member.name)]
        self._names = None

    def clear(self) -> None:
        """Remove all members."""
        self._members.clear()
        self._names = ()
