"""What becomes of the room when its journal's disk fails, and when it is back."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from simple_chat.errors import JournalError
from simple_chat.journal.directory import Lock, segments
from tests.harness.peer import Peer, connect
from tests.harness.programs import ServerProcess, find_program, run_server_process

BUSY = "ERR busy this was not sent, the room can't take it now: try again later"
BACK = "INFO The journal is written again."
LONG = "x" * 4_000

Fault = Callable[[ServerProcess, Path], AbstractContextManager[str]]
"""Something that goes wrong with a server's journal for a while, and what members are told about it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal"


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """The journal's directory, as a disk of its own that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    folder.mkdir()
    subprocess.run([find_program("mount"), "-t", "tmpfs", "-o", "size=256k", "none", folder], check=True)
    yield folder
    subprocess.run([find_program("umount"), folder], check=True)


@contextmanager
def full(server: ServerProcess, folder: Path) -> Iterator[str]:  # noqa: ARG001 - it is a Fault
    """The disk has no byte left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield "No space left on device"
    filler.unlink()


@contextmanager
def failing(server: ServerProcess, *options: str) -> Iterator[str]:
    """A system call fails."""
    command = [find_program("strace"), "-f", "-p", str(server.process.pid), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        try:
            while "attached" not in (line := strace.stderr.readline()):
                if not line:
                    pytest.skip("programs can't be traced here")
            yield "Input/output error"
        finally:
            strace.send_signal(signal.SIGINT)
            strace.stderr.read()


def failing_write(server: ServerProcess, folder: Path) -> AbstractContextManager[str]:
    """The segment can't be written to."""
    return failing(server, "-P", str(segments(folder)[-1].path), "-e", "inject=write:error=EIO")


def failing_sync(server: ServerProcess, folder: Path) -> AbstractContextManager[str]:  # noqa: ARG001 - it is a Fault
    """The disk does not take what was written."""
    return failing(server, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO")


@contextmanager
def gone(server: ServerProcess, folder: Path) -> Iterator[str]:  # noqa: ARG001 - it is a Fault
    """The directory is not there."""
    shutil.rmtree(folder)
    yield "somebody deleted the segment, or wrote to it"
    folder.mkdir()


async def join(server: ServerProcess, name: str) -> Peer:
    peer = await connect((server.host, int(server.port)))
    assert (await peer.line()).startswith("HELLO ")
    assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
    return peer


async def gather(server: ServerProcess, *names: str) -> list[Peer]:
    """Let some join, who have read that the others did."""
    peers = [await join(server, name) for name in names]
    for peer in peers:
        await peer.barrier()
    return peers


async def kept(folder: Path) -> list[str]:
    """The lines in a journal, which is whole."""
    return [
        record.line.decode()
        for segment in segments(folder)
        async for records in segment.read(segment.reader())
        for record in records
    ]


def told(why: str) -> str:
    return f"INFO The journal can't be written ({why}): what you say is not kept, and may be refused."


@pytest.mark.parametrize(
    ("fault", "sync"),
    [
        (full, "os"),
        (full, "disk"),
        (failing_write, "os"),
        (failing_write, "disk"),
        (failing_sync, "disk"),
    ],
)
@pytest.mark.usefixtures("small_disk")
async def test_what_can_not_be_kept_waits_and_everything_else_goes_on(
    fault: Fault, sync: str, folder: Path
) -> None:
    with run_server_process("--journal", str(folder), "--sync", sync) as server:
        ann, bob, cleo = await gather(server, "ann", "bob", "cleo")
        await ann.ask("MSG before")
        await cleo.until("MSG ann before")
        with fault(server, folder) as why:
            says = [f"{number} {LONG}" for number in range(20)]
            ann.send(f"MSG {says[0]}")
            assert await bob.line() == "MSG ann before"
            assert await bob.line() == told(why)
            ann.send(*(f"MSG {each}" for each in says[1:]), "WHO")
            refused = (await ann.until("OK WHO 3")).count(BUSY)
            taken = [f"MSG ann {each}" for each in says[: len(says) - refused]]
            assert 5 < len(taken) < len(says)
            assert await bob.ask("WHO") == ["NAMES ann bob cleo", "OK WHO 3"]
            assert await cleo.ask("LEAVE") == [told(why), f"GAP {len(taken)}", "OK LEAVE"]
            assert await cleo.ask("JOIN cleo") == [BUSY]
        assert await ann.until("LEFT cleo") == [BACK]
        lines = await bob.barrier()
        lines.remove(BACK)
        assert lines == [*taken, "LEFT cleo"]
        assert await cleo.ask("JOIN cleo") == ["OK JOIN cleo"]
        log = server.stop()
    assert re.search(
        rf"ERROR the journal can't be written: {why}\n.*INFO the journal is written again", log, re.DOTALL
    )
    start, *joined, before = (await kept(folder))[:5]
    assert [start, sorted(joined), before] == [
        "START",
        ["JOINED ann", "JOINED bob", "JOINED cleo"],
        "MSG ann before",
    ]
    assert (await kept(folder))[5:] == [*taken, "LEFT cleo", "JOINED cleo"]


async def test_new_directory_is_gone_on_with(folder: Path) -> None:
    with run_server_process("--journal", str(folder)) as server:
        ann, bob = await gather(server, "ann", "bob")
        with gone(server, folder) as why:
            ann.send("MSG 1")
            assert await bob.line() == told(why)
        assert await bob.line() == "MSG ann 1"
        assert await bob.line() == BACK
        with pytest.raises(JournalError):
            Lock(folder)
    assert await kept(folder) == ["MSG ann 1"]
    assert segments(folder)[0].first == 3


async def test_segment_that_the_disk_did_not_take_is_never_gone_on_with(folder: Path) -> None:
    with run_server_process("--journal", str(folder), "--sync", "disk") as server:
        ann, bob = await gather(server, "ann", "bob")
        with failing(server, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1") as why:
            ann.send("MSG 1")
            assert await bob.line() == told(why)
            assert await bob.line() == "MSG ann 1"
        assert await bob.line() == BACK
    assert [segment.first for segment in segments(folder)] == [0, 3]
    assert await kept(folder) == ["START", "JOINED ann", "JOINED bob", "MSG ann 1"]


async def test_disk_that_does_not_answer_is_noticed(folder: Path) -> None:
    with run_server_process("--journal", str(folder), "--sync", "disk") as server:
        ann, bob = await gather(server, "ann", "bob")
        with failing(server, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=3s:when=1"):
            ann.send("MSG 1")
            assert await bob.line() == told("the disk does not answer")
            assert await bob.ask("WHO") == ["NAMES ann bob", "OK WHO 2"]
            assert await bob.line() == "MSG ann 1"
        assert await bob.line() == BACK
    assert await kept(folder) == ["START", "JOINED ann", "JOINED bob", "MSG ann 1"]


async def test_lines_that_wait_for_nothing_are_written_later(small_disk: Path) -> None:
    with run_server_process("--journal", str(small_disk), "--sync", "none") as server:
        ann, bob = await gather(server, "ann", "bob")
        with full(server, small_disk) as why:
            ann.send(f"MSG 1 {LONG}")
            assert await bob.line() == f"MSG ann 1 {LONG}"
            assert await bob.line() == told(why)
            cleo = await join(server, "cleo")
            assert await cleo.ask("MSG 2") == []
        assert await bob.until(BACK) == ["JOINED cleo", "MSG cleo 2"]
    said = ["JOINED ann", "JOINED bob", f"MSG ann 1 {LONG}", "JOINED cleo", "MSG cleo 2"]
    assert await kept(small_disk) == ["START", *said]


async def test_server_ends_though_the_disk_is_full(small_disk: Path) -> None:
    with run_server_process("--journal", str(small_disk), "--drain", "1") as server:
        ann, bob = await gather(server, "ann", "bob")
        with full(server, small_disk) as why:
            ann.send(f"MSG 1 {LONG}")
            assert await bob.line() == told(why)
            assert "ERROR 1 lines could not be kept" in server.stop()
        assert await bob.rest() == ["GAP 1", "BYE shutdown"]
        assert await ann.rest() == [told(why)]
    assert await kept(small_disk) == ["START", "JOINED ann", "JOINED bob"]
