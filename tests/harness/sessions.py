"""A house without a network: sessions around one room, which get their turns as a server gives them."""

from typing import TYPE_CHECKING

from simple_chat.core.limits import Limits
from simple_chat.core.room import Room
from simple_chat.core.session import Session

if TYPE_CHECKING:
    from simple_chat.core.backlog import Batch

UNLIMITED = Limits(rate=0)

_PATIENCE = 1_000  # turns until everything must be done


class Guest:
    """A session, and all that was written to it."""

    def __init__(self, house: "House", limits: Limits, *, locked: bool = False) -> None:
        self._house = house
        self._read = 0
        self.written = bytearray()
        self.session = Session(house.room, self.written.extend, limits, locked=locked)
        self.session.greet()

    def feed(self, data: bytes) -> None:
        """Send a packet."""
        self.session.receive(data)
        self._house.schedule(self)

    def send(self, *lines: str) -> None:
        """Send whole lines, in one packet."""
        self.feed("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Send nothing more."""
        self.session.receive_eof()
        self._house.schedule(self)

    def end(self, reason: str) -> None:
        """Be sent away."""
        self.session.end(reason)
        self._house.schedule(self)

    def block(self) -> None:
        """Take no bytes."""
        self._house.room.block(self.session.member)

    def unblock(self) -> None:
        """Take bytes again."""
        self._house.room.unblock(self.session.member)
        self._house.schedule(self)

    def read(self) -> list[str]:
        """The lines written since the last read."""
        start, self._read = self._read, len(self.written)
        return self.written[start:].decode().splitlines()


class House:
    """A room and its guests.

    Args:
        backlog: of the room.
        history: of the room.
        presence_limit: of the room.
        journal: whether a batch is handed out only when it is `keep`.
    """

    def __init__(
        self,
        *,
        backlog: int = 1 << 20,
        history: int = 1_000,
        presence_limit: int = 1_000,
        journal: bool = False,
    ) -> None:
        self.room = Room(backlog=backlog, history=history, presence_limit=presence_limit)
        self.time = 0.0
        self._waiting: dict[Guest, None] = {}
        self._awaiting: dict[Guest, None] = {}  # the next batch
        self._journal = journal
        self._unkept: Batch | None = None

    def connect(self, limits: Limits = UNLIMITED, *, locked: bool = False) -> Guest:
        """Let somebody connect, who has read the greeting."""
        guest = Guest(self, limits, locked=locked)
        guest.read()
        return guest

    def enter(self, *names: str, limits: Limits = UNLIMITED) -> list[Guest]:
        """Let some connect and join, who have read all up to here."""
        guests = [self.connect(limits) for _ in names]
        for guest, name in zip(guests, names, strict=True):
            guest.send(f"JOIN {name}")
        self.rest()
        for guest in guests:
            guest.read()
        return guests

    def schedule(self, guest: Guest) -> None:
        """Give a guest its turn."""
        self._waiting[guest] = None

    def turn(self) -> None:
        """Take the lines of all who wait, hand them out as one batch, then write what else is due."""
        waiting, self._waiting = self._waiting, {}
        for guest in waiting:
            guest.session.take(self.time)
        if batch := self.room.close_batch(self.time):
            self._unkept = batch
            if not self._journal:
                self.keep()
        for guest in waiting:
            if guest.session.settle():
                self.schedule(guest)
            if self.room.awaits(guest.session.member):
                self._awaiting[guest] = None

    def keep(self) -> None:
        """Have the batch that was closed last kept, if there is one."""
        if self._unkept is not None:
            self.room.hand_out(self._unkept)
            self._unkept = None
            self._waiting |= self._awaiting
            self._awaiting.clear()

    def suspend(self) -> None:
        """Find that nothing can be kept for now."""
        self.room.suspend([guest.session.member for guest in self._awaiting])
        for guest in list(self._awaiting):
            self.schedule(guest)

    def resume(self) -> None:
        """Find that everything can be kept again."""
        self.room.suspended = False
        self.keep()

    def rest(self) -> None:
        """Give turns until nobody waits for one, and have everything kept unless the room is suspended."""
        for _ in range(_PATIENCE):
            self.turn()
            if not self._waiting and (self.room.suspended or self._unkept is None):
                return
            if not self.room.suspended:
                self.keep()
        raise AssertionError("somebody asks for turns without end")
