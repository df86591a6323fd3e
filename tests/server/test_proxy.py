"""Clients over a faulty network: whatever is cut wherever, what they receive is what is promised."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator
from itertools import count

from tests.harness.checker import check
from tests.harness.peer import DEADLINE, connect
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.proxy import Faults, Hit, Link, Proxy, fault_proxy
from tests.harness.random_clients import (
    Action,
    RandomClient,
    RandomClients,
    join_observer,
    new_event_loop,
    wait_for_members,
)
from tests.harness.transcript import End, Recording

MEMBERS = 40
WORKERS = 12
HITS = 80
"""Connections that the proxy resets or half-closes before the test ends."""


class ProxiedClient(RandomClient):
    """A client whose connection may be cut by the proxy.

    Attributes:
        link: its connection in the proxy.
    """

    link: Link

    async def perform(self, action: Action) -> bool:
        """Perform an action, and return whether the connection is still open.

        An unexpected end of the connection is a failure unless the proxy caused it.
        """
        try:
            await action()
        except (AssertionError, RuntimeError):  # RuntimeError: uvloop, for a write after the end
            if self.link.hit is None:
                raise
            await self.peer.wait_closed()
            self.end = self.end or End.CLEAN
        if self.end is End.CLEAN and self.link.hit is not None and not self._received_bye():
            self.end = End.VANISHED
        return self.end is None

    async def synchronize(self) -> None:
        """Wait until the server has carried out everything."""
        await self.peer.barrier()

    def recording(self) -> Recording:
        """Return what the checker needs."""
        recording = super().recording()
        if self.link.hit is not Hit.UPSTREAM_CLOSED:
            return recording
        # The server takes the proxy's half-close for the client's, and refuses a line that it cuts.
        *lines, torn = self.link.forwarded.decode().split("\n")
        sent = [*lines, *(["TORN"] if torn else []), "QUIT"]
        return Recording(label=recording.label, sent=sent, received=recording.received, end=recording.end)

    def _received_bye(self) -> bool:
        if self.link.hit is Hit.UPSTREAM_CLOSED:
            return True  # the checker fails without it
        last = self.peer.received.rpartition(b"\n")[0].rpartition(b"\n")[2]
        return last.startswith(b"BYE ") and self.peer.received.endswith(b"\n")


class ProxiedClients(RandomClients):
    """Clients that connect through the proxy, which may cut them before they have joined."""

    def __init__(self, proxy: Proxy, choice: random.Random) -> None:
        super().__init__(proxy.address, choice, MEMBERS, WORKERS)
        self._proxy = proxy

    async def connect(self, label: str) -> RandomClient:
        peer = await connect(self._proxy.address)
        client = ProxiedClient(label, peer, self._choice, self._names)
        client.link = await self._proxy.link_of(peer)
        return client

    async def act_until_hit(self, hits: int) -> None:
        """Let the clients act until the proxy has cut a number of connections."""

        def turns() -> Iterator[int]:
            for number in count():
                if self._proxy.hits >= hits:
                    return
                yield number

        async with asyncio.timeout(3 * DEADLINE):
            await self.act(turns())

    async def calm(self) -> int:
        """Let the proxy cut no more, and return how many clients are still connected."""
        self._proxy.faults_disabled = True
        return sum([await client.perform(client.synchronize) for client in self._idle_clients()])

    async def read_bye(self) -> None:
        """Wait for the server to end the connections."""
        for client in self._idle_clients():
            await client.perform(client.read_bye)

    def _idle_clients(self) -> list[ProxiedClient]:
        return [client for client in self.idle if isinstance(client, ProxiedClient)]


async def record(server: ServerProcess, seed: int) -> tuple[Recording, list[Recording], Counter[Hit]]:
    """Let the clients act until enough were cut, stop the server, and return all recordings and the cuts."""
    choice = random.Random(seed)
    address = server.host, int(server.port)
    async with fault_proxy(address, Faults(), seed) as proxy:
        observer = await join_observer(address, choice)
        clients = ProxiedClients(proxy, choice)
        try:
            await clients.connect_all()
            await clients.act_until_hit(HITS)
            await wait_for_members(observer, await clients.calm() + 1)
            server.process.terminate()
            await observer.read_bye()
            await clients.read_bye()
        finally:
            clients.abort()
    hits = Counter(each.link.hit for each in clients.all if isinstance(each, ProxiedClient) and each.link.hit)
    return observer.recording(), [each.recording() for each in clients.all], hits


def test_sequence_is_complete_and_in_order_whatever_is_cut() -> None:
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(2**32))
    print(f"FAULTS_SEED={seed} makes the same choices again")  # noqa: T201 - pytest shows it on failure
    with run_server_process() as server:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            observer, others, hits = runner.run(record(server, seed))
        log = server.wait().splitlines()
    assert [line.split(" INFO ")[-1].split()[0] for line in log] == ["listening", "shutting"]
    print({hit.name: number for hit, number in hits.items()})  # noqa: T201
    sequence = check(observer, others)
    assert sum(line.startswith("MSG ") for line in sequence) > HITS
    assert hits.total() >= HITS
