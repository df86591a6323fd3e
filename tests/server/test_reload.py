"""A server reloads again and again while its members talk: nobody is dropped, and the new limits hold."""

import asyncio
import os
import random
import resource
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from signal import SIGHUP

import pytest

from simple_chat.core.codes import Code
from tests.harness.checker import check
from tests.harness.peer import connect
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.random_clients import RandomClient, join_observer, new_event_loop
from tests.harness.server import disconnect_lines
from tests.harness.transcript import Recording

MEMBERS = int(os.environ.get("RELOAD_MEMBERS", "60"))
TALKERS = 20
RELOADS = 10

FEW = f"max-clients = {MEMBERS + 1}\nmax-line = 1000\nhistory = 10\nstall-timeout = 50\n"
"""As many as there are, with the observer."""

MANY = f"max-clients = {MEMBERS + 9}\nmax-line = 2000\nhistory = 1000\nstall-timeout = 60\nverbose = true\n"
BROKEN = "max-clients = 1\nmax-line = 64\n\nhistory = many\n"


@pytest.fixture(autouse=True)
def _enough_descriptors() -> Iterator[None]:
    """Allow this process and the server that it starts a descriptor for every client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2 * MEMBERS + 200, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Reloading:
    """A server and its configuration file.

    Args:
        server: the server.
        path: the file.
    """

    def __init__(self, server: ServerProcess, path: Path) -> None:
        self.address = server.host, int(server.port)
        self._server = server
        self._path = path

    async def reload(self, content: str, expected: str) -> None:
        """Write another configuration, and wait until the log has what came of it."""
        await asyncio.to_thread(self._path.write_text, content)
        self._server.process.send_signal(SIGHUP)
        await asyncio.to_thread(self._server.log.expect_exact, expected)

    async def probe(self) -> list[str]:
        """Return what one more client is told, without the HELLO."""
        peer = await connect(self.address)
        peer.send("QUIT")
        return (await peer.rest())[1:]


async def reload_again_and_again(reloading: Reloading) -> None:
    """Alternate between two configurations, with broken ones between them."""
    for number in range(RELOADS):
        few = number % 2 == 0
        limit = MEMBERS + (1 if few else 9)
        await reloading.reload(FEW if few else MANY, f"-> {limit}\n")
        told = ["LIMITS max-line=1000" if few else "LIMITS max-line=2000"]
        told += disconnect_lines(Code.TOO_MANY_CONNECTIONS) if few else ["BYE quit"]
        assert await reloading.probe() == told
        if number % 3 == 0:
            await reloading.reload(
                BROKEN, f" ERROR nothing reloaded: {reloading._path}:4:11: Invalid value\n"
            )
            assert await reloading.probe() == told


async def talk(client: RandomClient, reloads: asyncio.Task[None]) -> None:
    """Let a client talk until the reloads are over."""
    for _ in count():
        await client.talk()
        if reloads.done():
            return


async def record(server: ServerProcess, path: Path) -> tuple[Recording, list[Recording]]:
    """Let members talk during the reloads; return what the observer and all members received."""
    reloading, choice = Reloading(server, path), random.Random(1)
    observer = await join_observer(reloading.address, choice)
    members = [
        RandomClient(f"client{number}", await connect(reloading.address), choice, [f"name{number}"])
        for number in range(MEMBERS)
    ]
    async with asyncio.TaskGroup() as joining:
        for each in members:
            joining.create_task(each.join())
    async with asyncio.TaskGroup() as talking:
        reloads = talking.create_task(reload_again_and_again(reloading))
        for each in members[:TALKERS]:
            talking.create_task(talk(each, reloads))
    assert (await observer.peer.ask("WHO"))[-1] == f"OK WHO {MEMBERS + 1}"
    server.process.terminate()
    for each in (observer, *members):
        await each.read_bye()
    return observer.recording(), [each.recording() for each in members]


def test_ten_reloads_drop_nobody_and_broken_ones_leave_the_old_in_force(tmp_path: Path) -> None:
    path = tmp_path / "chat.toml"
    path.write_text("max-clients = 9999")
    with run_server_process("--config", str(path), "--presence-limit", str(2 * MEMBERS)) as server:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            observer, members = runner.run(record(server, path))
        server.wait()
    sequence = check(observer, members)
    assert not any(line.startswith(("LEFT ", "GAP ")) for line in sequence)
    assert sum(line.startswith("MSG ") for line in sequence) >= TALKERS
