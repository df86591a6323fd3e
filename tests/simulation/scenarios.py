"""What happens in simulated worlds: one server, one with a journal, a cluster."""

import asyncio

from simple_chat.server.config import Settings
from tests.harness.transcript import End
from tests.simulation.checks import check_all, check_histories, end, observe, wait_until_alone
from tests.simulation.cluster_trouble import ClusterTrouble
from tests.simulation.crowd import Crowd
from tests.simulation.journal_scenario import journal
from tests.simulation.operators import Operator
from tests.simulation.trouble import ServerTrouble, go_wrong, stop
from tests.simulation.world import Node, World

_FEW = 9  # people

_ARRIVAL = 5.0  # seconds until nobody connects any more who was on the way


async def single(world: World) -> None:
    """One server: people come and go, in some worlds on a bad network."""
    choice = world.choice
    rate = choice.choice((0, 20))
    backlog = choice.choice((8_000, 200_000, 8 * 1024 * 1024))
    history = choice.choice((0, 5, 100))
    node = world.start("s1", Settings(backlog=backlog, history=history, rate=rate))
    await node.started
    world.calm, world.takes_all = True, rate == 0
    world.pause = choice.choice((0.1, 0.5, 2.0))
    observer = await observe(world, node)
    crowd = Crowd(world, [node], choice.randint(2, 20), programs=choice.randint(0, 2))
    operator = Operator(world, [node], crowd)
    seconds = choice.uniform(20.0, 60.0)
    trouble = ServerTrouble(world, [node])
    kinds = choice.choice(((), (), (trouble.set_clock,), trouble.kinds))
    going_wrong = asyncio.create_task(go_wrong(world, kinds) if kinds else asyncio.sleep(0))
    living = asyncio.create_task(crowd.live(seconds))
    operating = asyncio.create_task(operator.work())
    if choice.random() < 0.3:  # under load
        await asyncio.sleep(choice.uniform(0.0, min(seconds, world.plan.seconds)))
        await stop(going_wrong, operating)
        world.takes_all = False
        await asyncio.sleep(1.0)
        await end(world, [node], observer)
        await living
    else:
        await living
        await stop(going_wrong, operating)
        await operator.finish()
        await wait_until_alone(world, [node], observer)
        await end(world, [node], observer)
    operator.check()
    check_all(world, observer, crowd, history if backlog > 10**6 else 0)


async def cluster(world: World) -> None:
    """Three servers of one room: their log is replaced, or all but the first, with the observer, may fail."""
    settings = Settings(cluster=("nats://simulated",), rate=0, history=100)
    nodes = [world.start(host, settings) for host in ("s1", "s2", "s3")]
    for node in nodes:
        await node.started
    if world.plan.seed % 10 == 0:
        await _replaced_log(world, nodes)
    else:
        await _failing_cluster(world, nodes, settings)


async def _replaced_log(world: World, nodes: list[Node]) -> None:
    """Replace the log: everybody is cut off, and the room begins anew, with nothing of what was before."""
    choice = world.choice
    for number in range(choice.randint(1, 3)):
        observer = await observe(world, nodes[0], f"observer{number}")
        crowd = Crowd(world, nodes, choice.randint(3, 12), run=number)
        living = asyncio.create_task(crowd.live(60.0))
        await asyncio.sleep(choice.uniform(1.0, 20.0))
        crowd.send_home()  # whoever is there stays until then
        await asyncio.sleep(_ARRIVAL)
        world.tell("log", "is away, and replaced meanwhile")
        world.log.away = True
        await asyncio.sleep(choice.uniform(0.5, 10.0))  # by then all servers have delivered the same
        world.log.remove()
        world.log.away = False
        await observer.wait_for_end()
        await living
        if observer.end is not End.VANISHED:
            world.find(f"{observer.label} was not cut off, though the log is another one")
        observer.received = _with_everybody_left(observer.received)
        check_all(world, observer, crowd)
    observer = await observe(world, nodes[0], "last")
    crowd = Crowd(world, nodes, choice.randint(3, 12), run=number + 1)
    await crowd.live(choice.uniform(5.0, 20.0))
    await wait_until_alone(world, nodes, observer)
    await end(world, nodes, observer)
    check_all(world, observer, crowd)


def _with_everybody_left(received: bytearray) -> bytearray:
    """Return what the observer received before it was cut off, as if the others had left then."""
    whole = received[: received.rfind(b"\n") + 1]
    present: dict[bytes, None] = {}
    for line in whole.splitlines():
        if line.startswith(b"JOINED "):
            present[bytes(line[7:])] = None
        elif line.startswith(b"LEFT "):
            present.pop(bytes(line[5:]))
    return whole + b"".join(b"LEFT %b\n" % name for name in present)


async def _failing_cluster(world: World, nodes: list[Node], settings: Settings) -> None:
    choice = world.choice
    world.calm = world.takes_all = True
    observer = await observe(world, nodes[0])
    crowd = Crowd(world, nodes, choice.randint(3, 30), programs=choice.randint(0, 3))
    few = crowd.size < _FEW  # they may be busier than many, and race each other
    world.pause = choice.choice((0.1, 1.0, 5.0, 30.0) if few else (1.0, 5.0, 30.0))
    trouble = ClusterTrouble(world, nodes, settings)
    operator = Operator(world, nodes, crowd)
    going_wrong = [asyncio.create_task(go_wrong(world, kinds)) for kinds in (trouble.kinds, trouble.of_log)]
    operating = asyncio.create_task(operator.work())
    await crowd.live(max(world.pause, 0.5) * choice.uniform(20.0, 60.0))
    await stop(*going_wrong, operating)
    await operator.finish()
    await wait_until_alone(world, nodes, observer)
    await check_histories(world, nodes, observer, crowd, settings.history, trouble.said_before)
    await end(world, nodes, observer)
    operator.check()
    check_all(world, observer, crowd, settings.history, trouble.said_before)


SCENARIOS = {"single": single, "journal": journal, "cluster": cluster}
"""The scenario of each shape."""
