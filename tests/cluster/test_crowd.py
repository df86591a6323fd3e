"""Everybody comes, talks and goes at random on three servers, and all that all of them saw fits together.

CLUSTER_MEMBERS=300 CLUSTER_SECONDS=30 pytest -s tests/cluster/test_crowd.py is the long one.
"""

import asyncio
import os
import random
from collections.abc import Sequence

from tests.harness.checker import End, Recording, check
from tests.harness.kills import chat_servers
from tests.harness.nats import Engine
from tests.harness.peer import DEADLINE, Peer, connect
from tests.soak.abuse import Server

MEMBERS = int(os.environ.get("CLUSTER_MEMBERS", "60"))
SECONDS = float(os.environ.get("CLUSTER_SECONDS", "3"))
SEED = int(os.environ.get("CLUSTER_SEED", str(random.randrange(2**32))))

_QUESTIONS = ("WHO", "HISTORY 5", "PING x", "HELP")


class Visitor:
    """Somebody who comes again and again, and does something else each time.

    Args:
        number: its own.
        servers: where it may come.

    Attributes:
        recordings: of its connections.
    """

    def __init__(self, number: int, servers: Sequence[Server]) -> None:
        self.recordings: list[Recording] = []
        self._number = number
        self._servers = servers
        self._chance = random.Random(f"{SEED}-{number}")
        self._said = 0

    async def come_and_go(self, until: float) -> None:
        """Come, talk and go, until it is time (by the event loop's clock)."""
        while asyncio.get_running_loop().time() < until:
            peer = await connect(self._chance.choice(self._servers).address)
            peer.send(f"JOIN {self._name()}")
            for _ in range(self._chance.randrange(1, 12)):
                if peer.closed:  # after too many lines that were refused
                    break
                peer.send(*self._lines())
                await asyncio.sleep(self._chance.uniform(0, 0.4))
            await self._end(peer)

    def _name(self) -> str:
        """Mostly its own, but some are wanted by many."""
        return f"user{self._number}" if self._chance.random() < 0.8 else f"all{self._number % 10}"

    def _lines(self) -> list[str]:
        match self._chance.randrange(8):
            case 0:
                return ["LEAVE", f"JOIN {self._name()}"]
            case 1:
                return [self._chance.choice(_QUESTIONS)]
        self._said += 3
        return [f"MSG {self._number}-{self._said - left}" for left in range(3)]

    async def _end(self, peer: Peer) -> None:
        label = f"user{self._number}'s connection {len(self.recordings)}"
        if vanishes := self._chance.random() < 0.3 and not peer.closed:
            await peer.reset()
        else:
            peer.send("QUIT")
            await peer.rest()
        end = End.VANISHED if vanishes else End.CLEAN
        self.recordings.append(Recording(label=label, sent=peer.sent, received=bytes(peer.received), end=end))


async def test_what_all_members_of_three_servers_saw_is_one_sequence(engine: Engine, room_name: str) -> None:
    print(f"CLUSTER_SEED={SEED}")  # noqa: T201 - pytest shows it on failure, and with -s
    async with chat_servers(engine, room_name) as servers:
        observer = await connect(servers[0].address)
        await observer.ask("JOIN observer")
        visitors = [Visitor(number, servers) for number in range(MEMBERS)]
        until = asyncio.get_running_loop().time() + SECONDS
        async with asyncio.timeout(SECONDS + DEADLINE), asyncio.TaskGroup() as visits:
            for visitor in visitors:
                visits.create_task(visitor.come_and_go(until))
        witnesses = [await connect(server.address) for server in servers]
        for witness in witnesses:  # who went without a word is gone for all when these are answered
            await witness.ask("WHO")
            await witness.close()
        observer.send("QUIT")
        await observer.rest()
    watched = Recording(
        label="observer", sent=observer.sent, received=bytes(observer.received), end=End.CLEAN
    )
    recordings = [recording for visitor in visitors for recording in visitor.recordings]
    sequence = check(watched, recordings)
    assert len(sequence) > MEMBERS * SECONDS
    print(f"{len(recordings)} connections, {len(sequence)} lines")  # noqa: T201 - as above
