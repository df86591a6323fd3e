"""The room while its journal's disk fails, and after it has recovered."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from simple_chat.errors import JournalError
from simple_chat.journal.base import Sync
from simple_chat.journal.directory import DirectoryLock, list_segments
from tests.harness import programs
from tests.harness.http import get, scrape
from tests.harness.peer import Peer, connect
from tests.harness.programs import ServerProcess, find_program, run_server_process, run_server_to_exit

BUSY = "ERR busy this was not sent, the room can't take it now: try again later"
BACK = "INFO The journal is written again."
LONG = "x" * 4_000

Fault = Callable[[ServerProcess, Path], AbstractContextManager[str]]
"""Makes a server's journal fail during a block; the value is the reason that members are notified of."""


@pytest.fixture(autouse=True)
def impatient_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all servers by the program that can shorten their waits."""
    path = Path(__file__).with_name("impatient_server.py")
    monkeypatch.setattr(programs, "_SERVER", (sys.executable, str(path)))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal"


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    """The journal's directory, as a small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    directory.mkdir()
    subprocess.run([find_program("mount"), "-t", "tmpfs", "-o", "size=256k", "none", directory], check=True)
    yield directory
    subprocess.run([find_program("umount"), directory], check=True)


@contextmanager
def full(server: ServerProcess, directory: Path) -> Iterator[str]:  # noqa: ARG001 - it is a Fault
    """The disk has no byte left."""
    filler = directory / "filler"
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


def failing_write(server: ServerProcess, directory: Path) -> AbstractContextManager[str]:
    """Writing to the segment fails."""
    return failing(server, "-P", str(list_segments(directory)[-1].path), "-e", "inject=write:error=EIO")


def failing_sync(server: ServerProcess, directory: Path) -> AbstractContextManager[str]:  # noqa: ARG001 - it is a Fault
    """Syncing fails."""
    return failing(server, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO")


@contextmanager
def deleted(server: ServerProcess, directory: Path) -> Iterator[str]:  # noqa: ARG001 - it is a Fault
    """The directory is deleted, and created again at the end."""
    shutil.rmtree(directory)
    yield "somebody deleted the segment, or wrote to it"
    directory.mkdir()


@asynccontextmanager
async def running(directory: Path, *options: str, **variables: str) -> AsyncIterator[ServerProcess]:
    """Run a server with a journal; when it stops, the event loop lets its peers close too."""
    with run_server_process("--journal", str(directory), *options, RETRY_DELAY="0.1", **variables) as server:
        yield server
        await asyncio.to_thread(server.stop)


async def join(server: ServerProcess, name: str) -> Peer:
    peer = await connect((server.host, int(server.port)))
    assert (await peer.line()).startswith("HELLO ")
    assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
    return peer


async def join_all(server: ServerProcess, *names: str) -> list[Peer]:
    """Connect members, who have read all the JOINED of the others."""
    peers = [await join(server, name) for name in names]
    for peer in peers:
        await peer.barrier()
    return peers


async def journal_lines(directory: Path) -> list[str]:
    """Read all lines of a journal, which has no damage."""
    return [
        record.line.decode()
        for segment in list_segments(directory)
        async for records in segment.read(segment.record_reader())
        for record in records
    ]


def notice(reason: str) -> str:
    return f"INFO The journal can't be written ({reason}): what you say is not kept, and may be refused."


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
async def test_unwritable_lines_wait_and_other_commands_are_answered(
    fault: Fault, sync: str, directory: Path
) -> None:
    async with running(directory, "--sync", sync) as server:
        ann, bob, cleo = await join_all(server, "ann", "bob", "cleo")
        await ann.ask("MSG before")
        await cleo.until("MSG ann before")
        with fault(server, directory) as reason:
            texts = [f"{number} {LONG}" for number in range(20)]
            ann.send(f"MSG {texts[0]}")
            assert await bob.line() == "MSG ann before"
            assert await bob.line() == notice(reason)
            ann.send(*(f"MSG {each}" for each in texts[1:]), "WHO")
            refused = (await ann.until("OK WHO 3")).count(BUSY)
            accepted = [f"MSG ann {each}" for each in texts[: len(texts) - refused]]
            assert 5 < len(accepted) < len(texts)
            assert await bob.ask("WHO") == ["NAMES ann bob cleo", "OK WHO 3"]
            assert await cleo.ask("LEAVE") == [notice(reason), f"GAP {len(accepted)}", "OK LEAVE"]
            assert await cleo.ask("JOIN cleo") == [BUSY]
        assert await ann.until("LEFT cleo") == [BACK]
        lines = await bob.barrier()
        lines.remove(BACK)
        assert lines == [*accepted, "LEFT cleo"]
        assert await cleo.ask("JOIN cleo") == ["OK JOIN cleo"]
        log = await asyncio.to_thread(server.stop)
    assert re.search(
        rf"ERROR the journal can't be written: {reason}\n.*INFO the journal is written again", log, re.DOTALL
    )
    start, *joined, before = (await journal_lines(directory))[:5]
    assert [start, sorted(joined), before] == [
        "START",
        ["JOINED ann", "JOINED bob", "JOINED cleo"],
        "MSG ann before",
    ]
    assert (await journal_lines(directory))[5:] == [*accepted, "LEFT cleo", "JOINED cleo"]


async def test_recreated_directory_gets_a_new_segment(directory: Path) -> None:
    async with running(directory) as server:
        ann, bob = await join_all(server, "ann", "bob")
        with deleted(server, directory) as reason:
            ann.send("MSG 1")
            assert await bob.line() == notice(reason)
        assert await bob.line() == "MSG ann 1"
        assert await bob.line() == BACK
        with pytest.raises(JournalError):
            DirectoryLock(directory)
    assert await journal_lines(directory) == ["MSG ann 1"]
    assert list_segments(directory)[0].first == 3


async def test_deleted_lock_file_lets_no_second_server_in(directory: Path) -> None:
    async with running(directory) as server:
        ann, bob = await join_all(server, "ann", "bob")
        await asyncio.to_thread((directory / "lock").unlink)
        ended = await asyncio.to_thread(run_server_to_exit, "--port", "0", "--journal", str(directory))
        (segment,) = list_segments(directory)
        assert (ended.returncode, ended.stderr) == (1, f"simple_chat: another server writes {segment.path}\n")
        ann.send("MSG 1")
        assert await bob.line() == "MSG ann 1"
    assert await journal_lines(directory) == ["START", "JOINED ann", "JOINED bob", "MSG ann 1"]


async def test_failed_fdatasync_starts_a_new_segment(directory: Path) -> None:
    async with running(directory, "--sync", "disk") as server:
        ann, bob = await join_all(server, "ann", "bob")
        with failing(server, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1") as reason:
            ann.send("MSG 1")
            assert await bob.line() == notice(reason)
            assert await bob.line() == "MSG ann 1"
        assert await bob.line() == BACK
    assert [segment.first for segment in list_segments(directory)] == [0, 3]
    assert await journal_lines(directory) == ["START", "JOINED ann", "JOINED bob", "MSG ann 1"]


async def test_stalled_disk_is_an_outage(directory: Path) -> None:
    async with running(directory, "--sync", "disk", STALL_TIMEOUT="0.4") as server:
        ann, bob = await join_all(server, "ann", "bob")
        with failing(server, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=1s:when=1"):
            ann.send("MSG 1")
            assert await bob.line() == notice("the disk does not answer")
            assert await bob.ask("WHO") == ["NAMES ann bob", "OK WHO 2"]
            assert await bob.line() == "MSG ann 1"
        assert await bob.line() == BACK
    assert await journal_lines(directory) == ["START", "JOINED ann", "JOINED bob", "MSG ann 1"]


async def test_without_sync_lines_are_broadcast_at_once_and_written_later(small_disk: Path) -> None:
    async with running(small_disk, "--sync", "none") as server:
        ann, bob = await join_all(server, "ann", "bob")
        with full(server, small_disk) as reason:
            ann.send(f"MSG 1 {LONG}")
            assert await bob.line() == f"MSG ann 1 {LONG}"
            assert await bob.line() == notice(reason)
            cleo = await join(server, "cleo")
            assert await cleo.ask("MSG 2") == []
        assert await bob.until(BACK) == ["JOINED cleo", "MSG cleo 2"]
    lines = ["JOINED ann", "JOINED bob", f"MSG ann 1 {LONG}", "JOINED cleo", "MSG cleo 2"]
    assert await journal_lines(small_disk) == ["START", *lines]


@pytest.mark.parametrize("sync", Sync)
async def test_full_disk_does_not_block_shutdown_but_is_its_exit_status(small_disk: Path, sync: Sync) -> None:
    async with running(small_disk, "--drain", "0.5", "--sync", sync) as server:
        ann, bob = await join_all(server, "ann", "bob")
        with full(server, small_disk) as reason:
            ann.send(f"MSG 1 {LONG}")
            await bob.until(notice(reason))
            ann.send("MSG 2", "MSG 3", "WHO")  # these gather
            await ann.until("OK WHO 2")
            server.status = 1
            log = await asyncio.to_thread(server.stop)
        lost = "lines that could not be written to the journal and are lost: 3\n"
        assert f"ERROR {lost}" in log
        assert log.endswith(f"simple_chat: {lost}")
    assert await journal_lines(small_disk) == ["START", "JOINED ann", "JOINED bob"]


async def test_lines_that_gather_while_the_disk_is_slow_are_written_at_the_end(directory: Path) -> None:
    async with running(directory, "--sync", "disk", STALL_TIMEOUT="0.1") as server:
        ann, bob = await join_all(server, "ann", "bob")
        with failing(server, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=2s:when=1"):
            ann.send("MSG 1")
            await bob.until(notice("the disk does not answer"))
            ann.send("MSG 2", "WHO")
            await ann.until("OK WHO 2")
            for each in (ann, bob):
                await each.reset()
            await asyncio.to_thread(server.stop)
    lines = await journal_lines(directory)
    assert lines[:5] == ["START", "JOINED ann", "JOINED bob", "MSG ann 1", "MSG ann 2"]


async def test_failed_fdatasync_at_the_end_is_the_exit_status(directory: Path) -> None:
    async with running(directory) as server:
        await join_all(server, "ann")
        with failing(server, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"):
            server.status = 1
            log = await asyncio.to_thread(server.stop)
    assert "ERROR the journal may lack lines, as a file could not be synced\n" in log


async def test_server_is_not_ready_while_its_journal_fails(directory: Path) -> None:
    async with running(directory, "--metrics", "0") as server:
        ann, bob = await join_all(server, "ann", "bob")
        with deleted(server, directory) as reason:
            ann.send("MSG 1")
            assert await bob.line() == notice(reason)
            ready = await get(server.metrics_address, "/readyz")
            assert (ready.status, ready.body) == (503, f"the journal fails: {reason}\n")
            assert (await get(server.metrics_address, "/healthz")).status == 200
            samples = await scrape(server.metrics_address)
            assert (samples["simple_chat_journal_failing"], samples["simple_chat_ready"]) == (1, 0)
            assert samples["simple_chat_journal_waiting_bytes"] > len("MSG ann 1\n")
        assert await bob.until(BACK) == ["MSG ann 1"]
        assert (await get(server.metrics_address, "/readyz")).body == "ready\n"
        samples = await scrape(server.metrics_address)
        assert (samples["simple_chat_journal_failing"], samples["simple_chat_ready"]) == (0, 1)
        assert samples["simple_chat_journal_waiting_bytes"] == 0
        assert samples["simple_chat_journal_seconds_count"] == 3
