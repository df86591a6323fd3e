"""A simulated world: machines with servers, a network between them and people, and what goes wrong."""

import asyncio
import logging
import random
import select
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

from simple_chat.client import connection as client_connection
from simple_chat.client import endpoints
from simple_chat.cluster import replicator, stream
from simple_chat.journal import clock as journal_clock
from simple_chat.journal import directory, file, segment, writer
from simple_chat.server import connection, serve, server, watchdog
from simple_chat.server.config import Settings
from simple_chat.server.listeners import Listener
from simple_chat.server.server import Server
from tests.simulation.disk import Disk
from tests.simulation.log import SimulatedLog
from tests.simulation.log_connection import SimulatedConnection
from tests.simulation.loop import new_loop
from tests.simulation.machine import MACHINE, Machine
from tests.simulation.network import Network
from tests.simulation.plan import Plan
from tests.simulation.sockets import SimulatedSocket

EPOCH = 1_800_000_000.0
"""The wall clock's time at which worlds begin, in seconds since 1970."""


class Finding(AssertionError):  # noqa: N818 - raised as a test failure
    """Something that must not be."""


class World:
    """A world.

    Args:
        plan: what it is made of.
        telling: whether to keep its story.

    Attributes:
        plan: the same.
        seed: what all sources of randomness begin with.
        seconds_of_life: how long people came and went.
        loop: its event loop.
        network: its network.
        log: the log that its servers share, if they are a cluster.
        choice: the source of randomness for what goes wrong.
        story: the lines of its story, if that is kept.
        findings: what must not be, and was.
        calm: whether no connection is lost but those that people lose themselves.
        takes_all: whether a server executes at once whatever reaches it.
        leaps: seconds by which some wall clock was ever ahead of the world's.
        pause: mean of the seconds between two actions of a person.
    """

    def __init__(self, plan: Plan, *, telling: bool = False) -> None:
        self.plan = plan
        self.seed = seed = f"{plan.shape} {plan.seed}"
        self.seconds_of_life = 0.0
        self.loop = new_loop()
        self.network = Network(self.loop, seed)
        self.log = SimulatedLog(self.loop, seed, EPOCH)
        self.choice = random.Random(f"{seed} world")
        self.story: list[str] = []
        self.findings: list[str] = []
        self.calm = False
        self.takes_all = False
        self.pause = 2.0
        self.leaps = {0.0}
        self._telling = telling
        self._clocks = random.Random(f"{seed} clocks")
        self._idents = random.Random(f"{seed} idents")
        self._off: list[Machine] = []  # keeps what stopped in the middle from being collected

    def tell(self, who: str, what: str, data: bytes = b"") -> None:
        """Add to the story."""
        if self._telling:
            self.story.append(f"{self.loop.now:11.6f} {who:10} {what} {_printable(data)}".rstrip())

    def find(self, text: str) -> None:
        """Note something that must not be."""
        self.tell("FOUND", text)
        self.findings.append(text)

    # Machines

    def start(self, host: str, settings: Settings, disk: Disk | None = None) -> "Node":
        """Switch a machine on that runs a server."""
        self.tell(host, "starts")
        machine = Machine(host)
        machine.uptime = self._clocks.uniform(0.0, 1e6)
        machine.rate = self._clocks.choice((1.0, self._clocks.uniform(0.8, 1.25)))
        if disk is not None:
            machine.disk = disk
            disk.switch_on()
        return Node(self, host, settings, machine)

    def set_clock(self, machine: Machine, leap: float) -> None:
        """Set a machine's wall clock."""
        self.tell(machine.name, f"has a clock that is {leap:+.0f} s ahead")
        machine.leap = leap
        self.leaps.add(leap)

    def kill(self, node: "Node", *, power: bool) -> None:
        """Kill a server's process, or cut its machine's power."""
        self.tell(node.host, "loses its power" if power else "is killed")
        node.machine.switch_off()
        if node.machine.disk is not None:
            node.machine.disk.switch_off(self.loop.now, power=power)
        self.network.switch_off(node.machine, power=power)
        self._off.append(node.machine)

    def pause_machine(self, node: "Node") -> None:
        """Let a machine do nothing for a while."""
        self.tell(node.host, "is paused")
        node.machine.paused = True

    def resume_machine(self, node: "Node") -> None:
        """Let it go on."""
        self.tell(node.host, "goes on")
        self.loop.resume(node.machine)

    def disturb(self) -> None:
        """Let something go wrong that people notice."""
        self.calm = self.takes_all = False

    # Running

    def run(self, scenario: "Callable[[World], Coroutine[None, None, None]]") -> None:
        """Run a scenario in this world, and raise what was found.

        Raises:
            Finding: the first thing that must not be.
        """
        with self._patched(), _log_to(self):
            try:
                self.loop.run(scenario(self))
            except Exception as error:  # noqa: BLE001 - also of an observer that was cut off
                self.find(f"{type(error).__name__}: {error}")
            self.findings += self.loop.errors
        for machine in self._off:
            machine.bury()
        if self.findings:
            raise Finding(self.findings[0])

    @contextmanager
    def _patched(self) -> Iterator[None]:
        """Let the shipped code use this world's sockets and clocks."""
        network = self.network
        clock = SimpleNamespace(time=self.wall_clock, monotonic=self.loop.time)
        with ExitStack() as stack:
            for module, name, stub in (
                (connection, "os", SimpleNamespace(read=lambda number, size: network.end(number).read(size))),
                (watchdog, "select", _Select(network)),
                *((module, "time", clock) for module in (server, file, writer, segment)),
                (journal_clock, "_uptime", self.loop.time),
                (directory, "fcntl", _NO_LOCKS),
                (client_connection, "open_socket", self._open_socket),
                (endpoints, "random", random.Random(f"{self.seed} endpoints")),
                (replicator, "secrets", SimpleNamespace(token_hex=self._ident)),
                (stream, "NatsConnection", partial(SimulatedConnection, self.log)),
            ):
                stack.enter_context(patch.object(module, name, stub))
            yield

    async def _open_socket(self, host: str, _: int) -> SimulatedSocket:
        machine = MACHINE.get()
        assert machine is not None
        return await self.network.connect(host, machine)

    def _ident(self, size: int) -> str:
        return self._idents.randbytes(size).hex()

    def wall_clock(self) -> float:
        """Return the time of the wall clock of the machine that asks."""
        machine = MACHINE.get()
        return EPOCH + self.loop.now + (machine.leap if machine is not None else 0.0)


class Node:
    """A machine and the server that runs on it.

    Attributes:
        host: its name in the network.
        machine: the machine.
        started: done when it accepts connections.
        server: the server, from then on.
    """

    server: Server

    def __init__(self, world: World, host: str, settings: Settings, machine: Machine) -> None:
        self.host = host
        self.machine = machine
        self._world = world
        self.started = world.loop.create_task(self._start(settings), context=machine.context)

    async def _start(self, settings: Settings) -> None:
        self.server = await serve.make_server(settings, None, None)
        await self.server.open()
        acceptor = self.server._acceptor
        sock = self._world.network.listen(self.host, self.machine)
        acceptor._listeners.append(Listener(sock, acceptor._on_accept))  # type: ignore[arg-type]
        self.server.start()

    def stop(self) -> asyncio.Task[None]:
        """End the server as SIGTERM does; the task is done when it has ended."""
        self._world.tell(self.host, "gets SIGTERM")
        return self._world.loop.create_task(self.server.close(), context=self.machine.context)


_NO_LOCKS = SimpleNamespace(flock=lambda *_: None, LOCK_EX=0, LOCK_NB=0)
"""A process that is killed would release its locks: here all servers are one process."""


class _Select:
    """What the watchdog asks the kernel."""

    POLLERR, POLLHUP = select.POLLERR, select.POLLHUP

    def __init__(self, network: Network) -> None:
        self._network = network

    def poll(self) -> "_Poll":
        return _Poll(self._network)


class _Poll:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._numbers: list[int] = []

    def register(self, number: int, _: int) -> None:
        self._numbers.append(number)

    def poll(self, _: int) -> list[tuple[int, int]]:
        return [(each, select.POLLERR) for each in self._numbers if self._network.end(each).failed]


class _Findings(logging.Handler):
    """Errors that a server logs about itself."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._world.find(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def _log_to(world: World) -> Iterator[None]:
    handler = _Findings(world)
    logger = logging.getLogger("simple_chat")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def _printable(data: bytes) -> str:
    text = data.decode(errors="backslashreplace").replace("\n", "|")
    return text if len(text) <= 100 else f"{text[:80]}... ({len(data)} bytes)"
