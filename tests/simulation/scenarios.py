"""What happens in simulated worlds: one server, one with a journal, a cluster."""

import asyncio
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from simple_chat.errors import JournalError
from simple_chat.journal.base import Sync
from simple_chat.journal.directory import list_segments
from simple_chat.journal.record import Record
from simple_chat.server.config import Settings
from tests.harness.checker import End, Recording, check
from tests.simulation.crowd import Crowd
from tests.simulation.disk import Disk
from tests.simulation.leftovers import leftovers
from tests.simulation.people import Person
from tests.simulation.trouble import DiskTrouble, Trouble
from tests.simulation.world import Node, World

_ARRIVAL = 5.0  # seconds until nobody connects any more who was on the way


async def single(world: World) -> None:
    """One server: people come and go."""
    choice = world.choice
    rate = choice.choice((0, 20))
    backlog = choice.choice((20_000, 200_000, 8 * 1024 * 1024))
    history = choice.choice((0, 5, 100))
    node = world.start("s1", Settings(backlog=backlog, history=history, rate=rate))
    await node.started
    world.calm, world.takes_all = True, rate == 0
    world.pause = choice.choice((0.1, 0.5, 2.0))
    observer = await observe(world, node)
    crowd = Crowd(world, [node], choice.randint(2, 20), programs=choice.randint(0, 2))
    seconds = choice.uniform(20.0, 60.0)
    living = asyncio.create_task(crowd.live(seconds))
    if choice.random() < 0.3:  # under load
        await asyncio.sleep(choice.uniform(0.0, min(seconds, world.plan.seconds)))
        world.takes_all = False
        await asyncio.sleep(1.0)
        await end(world, [node], observer)
        await living
    else:
        await living
        await wait_until_alone(world, [node], observer)
        await end(world, [node], observer)
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
    world.pause = choice.choice((1.0, 5.0, 30.0))
    crowd = Crowd(world, nodes, choice.randint(3, 30), programs=choice.randint(0, 3))
    trouble = Trouble(world, nodes, settings)
    going_wrong = [
        asyncio.create_task(trouble.go_on(kinds)) for kinds in (trouble.of_servers, trouble.of_log)
    ]
    await crowd.live(world.pause * choice.uniform(20.0, 60.0))
    for each in going_wrong:
        each.cancel()
    await asyncio.wait(going_wrong)
    await wait_until_alone(world, nodes, observer)
    await end(world, nodes, observer)
    check_all(world, observer, crowd, 0 if trouble.has_lost_entries else settings.history)


async def journal(world: World) -> None:
    """One server with a journal, that ends in any way, again and again, and whose disk fails."""
    choice = world.choice
    sync = choice.choice([*Sync])
    disk = Disk(Path(tempfile.mkdtemp(prefix="simulation-")), world.seed)
    settings = Settings(
        journal=str(disk.root), sync=sync, journal_segment=choice.choice((2_000, 20_000, 2**20)), rate=0
    )
    try:
        for number in range(choice.randint(1, 4)):
            await _journal_run(world, settings, disk, number)
    except JournalError:
        if not disk.damaged:  # otherwise it has to say so
            raise
    finally:
        disk.remove()


async def _journal_run(world: World, settings: Settings, disk: Disk, number: int) -> None:
    """Run a server with a journal once, and check the journal against what everybody received."""
    choice = world.choice
    before = await read_journal(disk.root)
    node = world.start("s1", settings, disk)
    await node.started
    observer = await observe(world, node, f"observer{number}")
    crowd = Crowd(world, [node], choice.randint(2, 10), run=number)
    trouble = asyncio.create_task(DiskTrouble(world, disk).go_on())
    living = asyncio.create_task(crowd.live(choice.uniform(5.0, 30.0)))
    how = choice.choice(("stop", "kill", "power"))
    if how == "stop":
        await living
    else:
        await asyncio.sleep(choice.uniform(1.0, 20.0))
    trouble.cancel()
    await asyncio.gather(trouble, return_exceptions=True)
    if how == "stop":
        await wait_until_alone(world, [node], observer)
        await end(world, [node], observer)
    else:
        world.kill(node, power=how == "power")
        crowd.send_home()
        await living
        await observer.wait_for_end()
    after = await read_journal(disk.root)
    if after[: len(before)] != before:
        world.find("records of an earlier run have changed")
    lines = [record.line.decode() for record in after[len(before) :]]
    safe = how == "stop" or settings.sync is Sync.DISK or (settings.sync is Sync.OS and how == "kill")
    check_journal(world, [line for line in lines if line != "START"], observer, crowd, safe=safe)


def with_all_left(recording: Recording, observer: Person) -> Recording:
    """Return what an observer received, with LEFT for all who were in the room when its server ended."""
    present: dict[str, None] = {}
    for line in observer.room_lines():
        verb, name = line.split(" ", 2)[:2]
        if verb == "JOINED":
            present[name] = None
        elif verb == "LEFT":
            present.pop(name, None)
    left = "".join(f"LEFT {name}\n" for name in present)
    return replace(
        recording, received=recording.received.replace(b"BYE shutdown\n", f"{left}BYE shutdown\n".encode())
    )


def check_journal(world: World, lines: list[str], observer: Person, crowd: Crowd, *, safe: bool) -> None:
    """Check the journal of one run.

    Args:
        world: the world.
        lines: of the room, in the journal.
        observer: who received all of them but its own.
        crowd: everybody else.
        safe: whether all that was handed out has to be in the journal.
    """
    if not safe:
        seen = observer.room_lines()
        kept = [line for line in lines if line != f"JOINED {observer.label}"]
        shorter = min(len(seen), len(kept))
        if seen[:shorter] != kept[:shorter]:
            world.find("the journal is not what the observer received")
        return
    present: dict[str, None] = {}
    for line in lines:
        verb, name = line.split(" ", 2)[:2]
        if verb == "JOINED":
            present[name] = None
        elif verb == "LEFT":
            present.pop(name, None)
    whole = [*lines, *(f"LEFT {name}" for name in present)]
    received = "".join(f"{line}\n" for line in ("HELLO simulated", "OK JOIN journal", *whole, "BYE shutdown"))
    reader = Recording(label="journal", sent=["JOIN journal"], received=received.encode(), end=End.CLEAN)
    texts = {line.split(" ", 2)[2] for line in lines if line.startswith("MSG ")}
    recordings = [person.recording(texts) for person in (observer, *crowd.all)]
    check(reader, [_as_far_as_written(recording, set(lines)) for recording in recordings])


def _as_far_as_written(recording: Recording, lines: Collection[str]) -> Recording:
    """Return a recording up to where somebody left of whom the journal does not know it.

    Who leaves while the disk fails does not wait for it, and is told by a GAP how many lines are not written
    yet; after a crash these, and the LEFT, are nowhere.
    """
    kept: list[str] = []
    joined = name = ""
    for line in recording.received.decode().split("\n"):
        if line.startswith("OK JOIN "):
            joined, name = line, line.removeprefix("OK JOIN ")
        elif line in {"OK LEAVE", "BYE quit"} and joined and f"LEFT {name}" not in lines:
            gaps = [at for at, each in enumerate(kept) if each.startswith("GAP ") and at > kept.index(joined)]
            whole = kept[: gaps[-1]] if gaps else kept
            return replace(
                recording, received="".join(f"{each}\n" for each in whole).encode(), end=End.VANISHED
            )
        kept.append(line)
    return recording


async def read_journal(root: Path) -> list[Record]:
    """Return all whole records of a journal."""
    found: list[Record] = []
    for segment in list_segments(root):
        async for records in segment.read(segment.record_reader()):
            found += records
    return found


async def observe(world: World, node: Node, name: str = "observer") -> Person:
    """Let the observer join, whose reading keeps up with everything."""
    observer = Person(world, name, [name])
    observer.machine.reads_slowly = False
    await observer.connect(node.host)
    await observer.join()
    return observer


async def end(world: World, nodes: list[Node], observer: Person) -> None:
    """End the servers, that of the observer last, and check that they leave nothing."""
    began = world.loop.now
    for node in reversed(nodes):
        await node.stop()
    await observer.wait_for_end()
    if world.calm and world.takes_all and world.loop.now - began > len(nodes):
        world.find(f"the end took {world.loop.now - began:.0f} seconds")
    if observer.end is not End.CLEAN:
        world.find("the end of the last server was not in order")
    machines = [node.machine for node in nodes]
    if leftovers := [each for each in world.network.open_ends if each.machine in machines]:
        world.find(f"{len(leftovers)} connections are left")
    if tasks := [str(task) for machine in machines for task in machine.tasks]:
        world.find(f"tasks are left: {tasks}")
    if timers := world.loop.timers_of(machines):
        world.find(f"timers are left: {timers}")


def check_all(world: World, observer: Person, crowd: Crowd, history: int = 0) -> None:
    """Check what everybody received.

    Args:
        world: the world.
        observer: who received everything.
        crowd: everybody else.
        history: messages that HISTORY has to reach back; 0 if that is not certain.
    """
    messages = [line for line in observer.room_lines() if line.startswith("MSG ")]
    texts = {line.split(" ", 2)[2]: None for line in messages}
    of_programs = [each for program in crowd.programs for each in program.recordings(texts)]
    others = [*(person.recording(texts) for person in crowd.all), *of_programs]
    whole = with_all_left(observer.recording(texts), observer)
    together = world.plan.shape == "cluster" or whole.received.count(b"LEFT ") > observer.received.count(
        b"LEFT "
    )
    check(whole, others, leaving_together=together)
    for program in crowd.programs:
        if lost := [text for text in program.kept if text not in texts]:
            world.find(f"{program.label} was told that {lost[0]!r} is kept")
    for person in crowd.all:
        for problem in person.check_answers(messages, history, observer.label):
            world.find(problem)
        if lost := [text for text in person.certain if text not in texts]:
            world.find(f"{lost[0]!r} reached the server, and nobody heard it")


async def wait_until_alone(world: World, nodes: list[Node], observer: Person) -> None:
    """Wait until everybody else has left the room; asking, which wakes a server, only when it seems so."""
    for _ in range(300):
        lines = observer.room_lines()
        joined = sum(line.startswith("JOINED ") for line in lines)
        if joined == sum(line.startswith("LEFT ") for line in lines) and "OK WHO 1" in await observer.ask(
            "WHO"
        ):
            break
        await asyncio.sleep(1.0)
    else:
        world.find("members stay though nobody is connected")
    await asyncio.sleep(5.0)
    for node in nodes:
        for problem in leftovers(node.server, int(node.host == observer.host)):
            world.find(f"{node.host} has {problem}")


SCENARIOS = {"single": single, "journal": journal, "cluster": cluster}
"""The scenario of each shape."""
