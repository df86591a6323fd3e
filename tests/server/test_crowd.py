"""Many clients join, talk and leave in every way; everything that they received is checked."""

import asyncio
import os
import random
import resource
from collections.abc import Iterator

import pytest

from tests.harness.checker import check
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.random_clients import RandomClients, join_observer, new_event_loop, wait_for_members
from tests.harness.transcript import Recording

MEMBERS = int(os.environ.get("CROWD_MEMBERS", "150"))
ACTIONS = int(os.environ.get("CROWD_ACTIONS", "1000"))


@pytest.fixture(autouse=True)
def _enough_descriptors() -> Iterator[None]:
    """Allow this process and the server that it starts a descriptor for every client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2 * MEMBERS, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def record(server: ServerProcess, choice: random.Random) -> tuple[Recording, list[Recording]]:
    """Let the clients act, stop the server, and return the recordings of the observer and of the clients."""
    address = server.host, int(server.port)
    observer = await join_observer(address, choice)
    clients = RandomClients(address, choice, MEMBERS, workers=max(MEMBERS // 5, 1))
    try:
        await clients.connect_all()
        await clients.act(range(ACTIONS))
        await wait_for_members(observer, MEMBERS + 1)
        server.process.terminate()
        for each in (observer, *clients.all):
            await each.read_bye()
    finally:
        clients.abort()
    return observer.recording(), [each.recording() for each in clients.all]


def test_crowd_receives_one_sequence_completely_and_in_order() -> None:
    seed = int(os.environ.get("CROWD_SEED") or random.randrange(2**32))
    print(f"CROWD_SEED={seed} makes the same choices again")  # noqa: T201 - pytest shows it on failure
    with run_server_process("--presence-limit", str(2 * MEMBERS)) as server:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            observer, others = runner.run(record(server, random.Random(seed)))
        log = server.wait().splitlines()
    assert [line.split(" INFO ")[-1].split()[0] for line in log] == ["listening", "shutting"]
    sequence = check(observer, others)
    assert sum(line.startswith("MSG ") for line in sequence) >= ACTIONS
    assert len(others) > MEMBERS
