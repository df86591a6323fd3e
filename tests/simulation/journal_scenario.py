"""A simulated server with a journal: it ends in any way, again and again, and its disk fails."""

import asyncio
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from simple_chat.errors import JournalError
from simple_chat.journal.base import Sync
from simple_chat.journal.directory import list_segments
from simple_chat.journal.record import Record
from simple_chat.server.config import Settings
from tests.harness.checker import check
from tests.harness.transcript import End, Recording
from tests.simulation.checks import end, observe, wait_until_alone
from tests.simulation.crowd import Crowd
from tests.simulation.disk import Disk
from tests.simulation.operators import Operator
from tests.simulation.people import Person
from tests.simulation.trouble import DiskTrouble, ServerTrouble, go_wrong, stop
from tests.simulation.unwritten import as_far_as_written
from tests.simulation.world import Node, World


async def journal(world: World) -> None:
    """One server with a journal, that ends in any way, again and again, and whose disk fails."""
    choice = world.choice
    sync = choice.choice([*Sync])
    disk = Disk(Path(tempfile.mkdtemp(prefix="simulation-")), world.seed, world.wall_clock)
    settings = Settings(
        journal=str(disk.root),
        sync=sync,
        journal_segment=choice.choice((2_000, 20_000, 2**20)),
        journal_keep=choice.choice((None, timedelta(days=7))),  # no world is as old as that
        rate=0,
    )
    try:
        for number in range(choice.randint(1, 4)):
            await _journal_run(world, settings, disk, number)
    except JournalError as error:
        says_so = disk.emptied or (disk.damaged and sync is not Sync.DISK)
        if not says_so:  # a server that ends right after its files were taken away has to do so, too
            raise JournalError(str(error).replace(str(disk.root), "the directory")) from None
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
    how = await _live_and_end(world, node, disk, observer, crowd)
    after = await read_journal(disk.root)
    safe = how.startswith("stop") or settings.sync is Sync.DISK
    safe = safe or (settings.sync is Sync.OS and how == "kill")
    if disk.emptied:
        released = range(disk.refilled or sys.maxsize, node.server.room.sequence.backlog.end)
        check_rest(world, after, observer, released if safe else range(0))
        return
    if after[: len(before)] != before:
        world.find("records of an earlier run have changed")
    check_journal(world, _lines_of(after[len(before) :]), observer, crowd, safe=safe)


async def _live_and_end(world: World, node: Node, disk: Disk, observer: Person, crowd: Crowd) -> str:
    """Let people live and disks fail until the server ends; return how it did."""
    choice = world.choice
    of_server = ServerTrouble(world, [node])
    kinds = (DiskTrouble(world, disk, node).kinds, choice.choice(((of_server.set_clock,), of_server.kinds)))
    troubles = [asyncio.create_task(go_wrong(world, each)) for each in kinds]
    living = asyncio.create_task(crowd.live(choice.uniform(5.0, 30.0)))
    operator = Operator(world, [node], crowd, run=int(observer.label[8:]))
    troubles.append(asyncio.create_task(operator.work()))
    how = choice.choice(("stop", "stop under load", "kill", "power"))
    if how == "stop":
        await living
    else:
        await asyncio.sleep(choice.uniform(1.0, 20.0))
    await stop(*troubles)
    if how == "stop":
        await operator.finish()
        await wait_until_alone(world, [node], observer)
        await end(world, [node], observer)
    elif how == "stop under load":
        disk.slow = choice.choice((0.0, choice.uniform(0.05, 0.4)))
        await end(world, [node], observer)
        await living
    else:
        world.kill(node, power=how == "power")
        crowd.send_home()
        await living
        await observer.wait_for_end()
    operator.check()
    return how


def _lines_of(records: Iterable[Record]) -> list[str]:
    """Return the lines of the room."""
    return [record.line.decode() for record in records if record.line != b"START"]


def check_rest(world: World, records: Sequence[Record], observer: Person, released: range) -> None:
    """Check a journal whose files were taken away: what was written later is there without a hole.

    Args:
        world: the world.
        records: in the journal.
        observer: who received all lines but its own.
        released: the numbers of what must be there.
    """
    seen = observer.room_lines()
    kept = [line for line in _lines_of(records) if line != f"JOINED {observer.label}"]
    places = [at for at, line in enumerate(seen) if line == kept[0]] if kept else []
    if places and not any(_agree(seen[at:], kept) for at in places):
        world.find("the rest of the journal is not what the observer received")
    if lost := {*released} - {record.number for record in records}:
        world.find(f"{len(lost)} lines are not in the journal, though its files are new")


def _agree(some: Sequence[str], others: Sequence[str]) -> bool:
    shorter = min(len(some), len(others))
    return some[:shorter] == others[:shorter]


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
        if not _agree(seen, kept):
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
    check(reader, [as_far_as_written(recording, present) for recording in recordings])


async def read_journal(root: Path) -> list[Record]:
    """Return all whole records of a journal."""
    found: list[Record] = []
    for segment in list_segments(root):
        async for records in segment.read(segment.record_reader()):
            found += records
    return found
