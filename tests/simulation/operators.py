"""An operator who kicks and bans people by name, at any server, and lifts the bans again.

In most worlds there is none. What comes of the orders is checked where it can be seen: nobody whose name is
banned stays, nobody is told to go without an order, and at the end all servers have the same bans.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from itertools import count
from typing import TYPE_CHECKING

from simple_chat.errors import AdminError
from simple_chat.server.connection import Connection

if TYPE_CHECKING:
    from tests.simulation.crowd import Crowd
    from tests.simulation.world import Node, World

_PART = 0.3
"""Of the worlds that have an operator."""

_TICK = 1.0  # seconds from one look at the room to the next

_LIMIT = 10
"""Looks after which somebody whose name is banned has to be gone."""

_SETTLING = 200.0
"""Seconds after which all servers have to have the same bans: one may wait for a snapshot."""

_ANSWER = 10.0  # seconds in which an order is answered, well or not


class Operator:
    """An operator.

    Args:
        world: the world.
        nodes: the servers, of which some may be replaced by others.
        crowd: those who may be kicked and banned.
        run: number that tells it from those of other runs in the same world.
    """

    def __init__(self, world: "World", nodes: "list[Node]", crowd: "Crowd", *, run: int = 0) -> None:
        self._world = world
        self._nodes = nodes
        self._crowd = crowd
        self._choice = random.Random(f"{world.seed} operator {run}")
        self._orders = world.plan.faults if self._choice.random() < _PART else 0
        self._reasons: dict[str, str] = {}  # each with the name that it was given for
        self._numbers = count(1)
        self._banned: dict[str, None] = {}
        self._staying: Counter[Connection] = Counter()  # looks at which they were there, though banned

    async def work(self) -> None:
        """Kick, ban and unban, until everything is ordered, or this is cancelled."""
        while self._orders:
            await asyncio.sleep(_TICK)
            self._look()
            if self._choice.random() < 0.3:
                self._orders -= 1
                await self._choice.choice((self._kick, self._ban, self._unban))()

    async def finish(self) -> None:
        """Wait until all servers have the same bans, lift those, and wait until there are none."""
        if not self._reasons:
            return
        await self._wait_until_alike("have other bans than others")
        for _ in range(round(_SETTLING)):
            left = sorted(self._bans_of(self._nodes[0]))
            if not left:
                break
            await self._order(self._nodes[0], f"unbans {left[0]}", "unban", left[0])
        await self._wait_until_alike("keep bans that are lifted")

    def check(self) -> None:
        """Check that everybody who was told to go was ordered to, and once."""
        names = {text: name.lower() for text, name in self._reasons.items()}
        kicks = Counter[str]()
        for label, sent, received in self._streams():
            lines = received.split("\n")
            goodbye = lines[-2] if len(lines) > 2 and not lines[-1] else ""
            if goodbye not in {"BYE kicked", "BYE banned"}:
                continue
            _, code, reason = f"{lines[-3]}  ".split(" ", 2)
            joins = {line[5:].lower() for line in sent if line.startswith("JOIN ")}
            if f"BYE {code}" != goodbye or names.get(reason.strip()) not in joins:
                self._world.find(f"{label} is told {lines[-3:-1]}")
            kicks[reason] += code == "kicked"
        if doubles := [reason for reason, times in kicks.items() if times > 1]:
            self._world.find(f"more than one was told {doubles[0]!r}")

    def _streams(self) -> list[tuple[str, Sequence[str], str]]:
        people = [(each.label, each.sent, each.received.decode()) for each in self._crowd.all]
        programs = [
            (program.label, tap.sent.decode().split("\n"), tap.received.decode())
            for program in self._crowd.programs
            for tap in program.machine.taps or ()
        ]
        return [*people, *programs]

    # Orders

    async def _kick(self) -> None:
        name, reason = self._name("kick")
        await self._order(self._any(), f"kicks {name}", "kick", name, reason)

    async def _ban(self) -> None:
        name, reason = self._name("ban")
        self._banned[name] = None
        await self._order(self._any(), f"bans {name}", "ban", name, None, reason)

    async def _unban(self) -> None:
        if self._banned:
            name = next(iter(self._banned))
            del self._banned[name]
            await self._order(self._any(), f"unbans {name}", "unban", name)

    def _name(self, what: str) -> tuple[str, str]:
        """Return whom an order is about, mostly somebody who is there, and its reason."""
        reason = f"{what}-{next(self._numbers)}"
        known = [*self._crowd.names, *(program.label for program in self._crowd.programs)]
        node = self._nodes[0]
        there = [name for name in node.server.room.names() if name in known] if node.machine.on else []
        self._reasons[reason] = name = self._choice.choice(there or known)
        return name, reason

    def _any(self) -> "Node":
        return self._choice.choice([each for each in self._nodes if _works(each)] or self._nodes[:1])

    async def _order(self, node: "Node", what: str, verb: str, name: str, *arguments: object) -> None:
        """Give an order, and wait until it is answered."""
        self._world.tell("operator", f"{what} at {node.host}")
        self._world.takes_all = False  # what comes behind an order is not carried out
        work: Coroutine[object, object, object] = getattr(node.server.moderation, verb)(name, *arguments)
        order = asyncio.create_task(work, context=node.machine.context)
        order.add_done_callback(_ignore)  # if this is cancelled meanwhile
        await asyncio.wait([order], timeout=_ANSWER)
        if not order.done():
            if _works(node) and self._world.calm:
                self._world.find(f"an operator who {what} at {node.host} gets no answer")
            return
        if error := order.exception():
            self._check_refusal(
                error, f"an operator who {what} at {node.host} is told: {error!r}", node, name
            )

    def _check_refusal(self, error: BaseException, problem: str, node: "Node", name: str) -> None:
        """Check that an order may come to nothing: it is too late, or not carried out yet."""
        holder = node.server.moderation.find(name)
        slow = not self._world.calm or (holder is not None and _reads_nothing(holder))
        code = error.code if isinstance(error, AdminError) else ""
        if code != "not-found" and not (code == "no-answer" and slow):
            self._world.find(problem)

    # What comes of them

    def _look(self) -> None:
        """Find those who stay though their server knows that their names are banned."""
        staying = Counter[Connection]()
        for node in self._nodes:
            if not _works(node) or node.server.readiness():
                continue
            for ban in node.server.moderation.bans:
                connection = node.server.moderation.find(ban.name or "")
                if connection is not None and not _reads_nothing(connection):
                    staying[connection] = self._staying[connection] + 1
                    if staying[connection] == _LIMIT:
                        self._world.find(f"{ban.name} stays at {node.host}, and is banned")
        self._staying = staying

    async def _wait_until_alike(self, problem: str) -> None:
        expected = self._bans_of(self._nodes[0])
        wrong: list[str] = []
        for _ in range(round(_SETTLING)):
            wrong = [each.host for each in self._nodes if not _works(each) or self._bans_of(each) != expected]
            if not wrong:
                return
            await asyncio.sleep(_TICK)
            expected = self._bans_of(self._nodes[0])
        self._world.find(f"{', '.join(wrong)} {problem}")

    @staticmethod
    def _bans_of(node: "Node") -> Collection[str]:
        return {ban.name or "" for ban in node.server.moderation.bans}


def _works(node: "Node") -> bool:
    return node.started.done() and node.machine.on and not node.machine.paused


def _reads_nothing(connection: Connection) -> bool:
    """Return whether an answer is stuck: its member stays until the server's patience is at its end."""
    return connection.session.subscriber.response is not None


def _ignore(order: "asyncio.Task[object]") -> None:
    """Take what came of an order, though nobody may wait for it any more."""
    if not order.cancelled():
        order.exception()
