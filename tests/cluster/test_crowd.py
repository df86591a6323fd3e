"""Clients join, talk and leave at random on three servers, and everything they received is one sequence.

CLUSTER_MEMBERS=300 CLUSTER_SECONDS=30 pytest -s tests/cluster/test_crowd.py is the long one.
"""

import asyncio
import os
import random
from collections.abc import Sequence

from tests.harness.async_programs import AsyncServerProcess
from tests.harness.checker import check
from tests.harness.kills import chat_programs
from tests.harness.nats import NatsCluster
from tests.harness.peer import DEADLINE, Peer, connect
from tests.harness.transcript import End, Recording

MEMBERS = int(os.environ.get("CLUSTER_MEMBERS", "40"))
SECONDS = float(os.environ.get("CLUSTER_SECONDS", "1"))
SEED = int(os.environ.get("CLUSTER_SEED", str(random.randrange(2**32))))

_REQUESTS = ("WHO", "HISTORY 5", "PING x", "HELP")


class RandomClient:
    """A client that connects again and again, and does something else each time.

    Args:
        number: of the client.
        servers: to connect to.

    Attributes:
        recordings: of its connections.
    """

    def __init__(self, number: int, servers: Sequence[AsyncServerProcess]) -> None:
        self.recordings: list[Recording] = []
        self._number = number
        self._servers = servers
        self._random = random.Random(f"{SEED}-{number}")
        self._sent = 0

    async def run(self, until: float) -> None:
        """Connect, talk and leave, until a time of the event loop's clock."""
        time = asyncio.get_running_loop().time
        while time() < until:
            peer = await connect(self._random.choice(self._servers).address)
            peer.send(f"JOIN {self._name()}")
            for _ in range(self._random.randrange(1, 12)):
                if peer.closed or time() >= until:  # gone after too many errors
                    break
                peer.send(*self._lines())
                await asyncio.sleep(self._random.uniform(0, 0.4))
            await self._end(peer)

    def _name(self) -> str:
        """Return a name, mostly its own, but sometimes one that many want."""
        return f"user{self._number}" if self._random.random() < 0.8 else f"all{self._number % 10}"

    def _lines(self) -> list[str]:
        match self._random.randrange(8):
            case 0:
                return ["LEAVE", f"JOIN {self._name()}"]
            case 1:
                return [self._random.choice(_REQUESTS)]
        self._sent += 3
        return [f"MSG {self._number}-{self._sent - left}" for left in range(3)]

    async def _end(self, peer: Peer) -> None:
        label = f"user{self._number}'s connection {len(self.recordings)}"
        if vanishes := self._random.random() < 0.3 and not peer.closed:
            await peer.reset()
        else:
            peer.send("QUIT")
            await peer.rest()
        end = End.VANISHED if vanishes else End.CLEAN
        self.recordings.append(Recording(label=label, sent=peer.sent, received=bytes(peer.received), end=end))


async def test_all_members_of_three_servers_receive_one_sequence(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    print(f"CLUSTER_SEED={SEED}")  # noqa: T201 - pytest shows it on failure, and with -s
    async with chat_programs(nats_cluster, room_name) as servers:
        observer = await connect(servers[0].address)
        await observer.ask("JOIN observer")
        clients = [RandomClient(number, servers) for number in range(MEMBERS)]
        until = asyncio.get_running_loop().time() + SECONDS
        async with asyncio.timeout(SECONDS + DEADLINE), asyncio.TaskGroup() as running:
            for client in clients:
                running.create_task(client.run(until))
        witnesses = [await connect(server.address) for server in servers]
        for witness in witnesses:  # behind their answers everybody has left
            await witness.ask("WHO")
            await witness.close()
        observer.send("QUIT")
        await observer.rest()
    watched = Recording(
        label="observer", sent=observer.sent, received=bytes(observer.received), end=End.CLEAN
    )
    recordings = [recording for client in clients for recording in client.recordings]
    sequence = check(watched, recordings)
    assert len(sequence) > MEMBERS * SECONDS
    print(f"{len(recordings)} connections, {len(sequence)} lines")  # noqa: T201 - as above
