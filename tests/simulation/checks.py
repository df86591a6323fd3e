"""What every simulated world comes to: an observer who sees everything, the end, and what must hold then."""

import asyncio
from dataclasses import replace

from tests.harness.checker import check
from tests.harness.transcript import End, Recording
from tests.simulation.answers import Room
from tests.simulation.crowd import Crowd
from tests.simulation.leftovers import leftovers
from tests.simulation.people import Person
from tests.simulation.world import EPOCH, Node, World


async def observe(world: World, node: Node, name: str = "observer") -> Person:
    """Let the observer join, whose reading keeps up with everything."""
    observer = Person(world, name, [name])
    observer.machine.reads_slowly = False
    observer.machine.router = -1  # it is never cut off
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


def check_all(world: World, observer: Person, crowd: Crowd, history: int = 0, said_before: int = 0) -> None:
    """Check what everybody received.

    Args:
        world: the world.
        observer: who received everything.
        crowd: everybody else.
        history: messages that HISTORY has to reach back; 0 if that is not certain.
        said_before: the first messages, which it need not have.
    """
    messages = [line for line in observer.room_lines() if line.startswith("MSG ")]
    texts = {line.split(" ", 2)[2]: None for line in messages}
    of_programs = [each for program in crowd.programs for each in program.recordings(texts)]
    others = [*(person.recording(texts) for person in crowd.all), *of_programs]
    whole = with_all_left(observer.recording(texts), observer)
    check(whole, others)
    began, ended = EPOCH, EPOCH + world.loop.now
    spans = [(began + leap - 0.001, ended + leap) for leap in sorted(world.leaps)]  # told in whole ms
    room = Room(
        {line: place for place, line in enumerate(messages)}, history, said_before, observer.label, spans
    )
    for program in crowd.programs:
        if lost := [text for text in program.kept if text not in texts]:
            world.find(f"{program.label} was told that {lost[0]!r} is kept")
    for person in crowd.all:
        for problem in person.check_answers(room):
            world.find(problem)
        if lost := [text for text in person.certain if text not in texts]:
            world.find(f"{lost[0]!r} reached the server, and nobody heard it")


async def check_histories(
    world: World, nodes: list[Node], observer: Person, crowd: Crowd, history: int, said_before: int
) -> None:
    """Check that HISTORY of every server reaches back as far as it has to, however often it was started."""
    for node in nodes:
        reader = await observe(world, node, f"reader-{node.host}")
        crowd.all.append(reader)
        past = sum(line.startswith("PAST ") for line in await reader.ask("HISTORY"))
        said = sum(line.startswith("MSG ") for line in observer.room_lines())
        if past < min(history, said - said_before):
            world.find(f"HISTORY of {node.host} has {past} messages, of {said - said_before}")
        await reader.quit()


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
