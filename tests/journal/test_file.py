"""Submitting batches to a journal: when they are broadcast, and when the journal is busy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from simple_chat import Settings, serve
from simple_chat.errors import JournalError
from simple_chat.journal import file
from simple_chat.journal.base import Journal, Policy, Sync
from simple_chat.journal.directory import DirectoryLock
from simple_chat.journal.file import FileJournal
from simple_chat.journal.memory import MemoryJournal
from simple_chat.journal.reader import JournalReader
from simple_chat.journal.writer import JournalWriter
from tests.harness.peer import connect
from tests.journal.harness import RecordingHost, make_batch, take_warnings


@pytest.fixture
def host() -> RecordingHost:
    return RecordingHost()


@asynccontextmanager
async def running(host: RecordingHost, directory: Path, sync: Sync = Sync.OS) -> AsyncIterator[FileJournal]:
    """Open and start a journal; close it at the end."""
    journal = await FileJournal.open(directory, Policy(sync=sync))
    try:
        journal.start(host)
        yield journal
    finally:
        await journal.close()


async def read_lines(directory: Path) -> list[bytes]:
    return [each.line async for records in JournalReader(directory).read() for each in records]


async def test_memory_journal_broadcasts_at_once(host: RecordingHost) -> None:
    journal: Journal = MemoryJournal()
    journal.start(host)
    batch = make_batch(0, b"MSG ann a")
    journal.submit(batch)
    assert (host.broadcasts, journal.busy, journal.recovered) == ([batch], False, ())
    await journal.close()


@pytest.mark.parametrize("sync", [Sync.OS, Sync.DISK])
async def test_batch_is_broadcast_after_it_was_written(
    host: RecordingHost, tmp_path: Path, sync: Sync
) -> None:
    batch = make_batch(1, b"MSG ann a", b"MSG ann b")
    async with running(host, tmp_path, sync) as journal:
        journal.submit(batch)
        assert (host.broadcasts, journal.busy) == ([], True)
        await host.ready()
        assert (host.broadcasts, journal.busy) == ([batch], False)
        assert await read_lines(tmp_path) == [b"START", b"MSG ann a", b"MSG ann b"]


async def test_without_sync_batches_are_broadcast_at_once_until_too_much_is_unwritten(
    host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_batch(1, b"MSG ann a"), make_batch(2, b"MSG ann b")
    monkeypatch.setattr(file, "_QUEUE_BYTES", first.size)
    async with running(host, tmp_path, Sync.NONE) as journal:
        journal.submit(first)
        assert (host.broadcasts, journal.busy) == ([first], False)
        journal.submit(second)
        assert (host.broadcasts, journal.busy) == ([first, second], True)
        await host.ready()
        assert not journal.busy
        assert await read_lines(tmp_path) == [b"START", b"MSG ann a", b"MSG ann b"]


async def test_close_writes_what_was_submitted(host: RecordingHost, tmp_path: Path) -> None:
    async with running(host, tmp_path) as journal:
        journal.submit(make_batch(1, b"MSG ann a"))
    assert await read_lines(tmp_path) == [b"START", b"MSG ann a"]


async def test_failed_write_is_retried_and_members_are_notified_of_the_outage(
    host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, failures = JournalWriter.append, [OSError("first"), OSError("second")]

    async def fail_twice(writer: JournalWriter, records: bytes, first: int, time: float) -> None:
        if failures:
            raise failures.pop(0)
        await append(writer, records, first, time)

    monkeypatch.setattr(file, "RETRY_DELAY", 0.01)
    async with running(host, tmp_path) as journal:
        monkeypatch.setattr(JournalWriter, "append", fail_twice)
        journal.submit(make_batch(1, b"MSG ann a"))
        await host.ready()
    assert host.notices == [
        "The journal can't be written (first): what you say is not kept, and may be refused.",
        "The journal is written again.",
    ]
    assert await read_lines(tmp_path) == [b"START", b"MSG ann a"]


@pytest.mark.parametrize("sync", Sync)
@pytest.mark.parametrize("gathered", [0, 5], ids=["submitted", "gathered"])
async def test_close_raises_how_many_lines_are_lost(
    host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync, gathered: int
) -> None:
    async def fail(writer: JournalWriter, records: bytes, first: int, time: float) -> None:  # noqa: ARG001
        raise OSError("full")

    journal = await FileJournal.open(tmp_path, Policy(sync=sync))
    journal.start(host)
    monkeypatch.setattr(JournalWriter, "append", fail)
    batch = make_batch(1, b"MSG ann a", b"MSG ann b")
    journal.submit(batch)
    with pytest.raises(JournalError, match=f"are lost: {2 + gathered}$"):
        await journal.close(batch.end + gathered if gathered else 0)
    assert await read_lines(tmp_path) == [b"START"]
    DirectoryLock(tmp_path).release()


async def test_leaving_serve_raises_what_the_journal_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise OSError("full")

    serving = serve("127.0.0.1", 0, settings=Settings(journal=str(tmp_path), drain=0))
    server = await serving.__aenter__()
    ann = await connect(server.address)
    await ann.ask("JOIN ann")
    monkeypatch.setattr(JournalWriter, "append", fail)
    ann.send("MSG hi", "WHO")
    await ann.until("OK WHO 1")
    with pytest.raises(JournalError, match=r"are lost: 1$"):
        await serving.__aexit__(None, None, None)
    await ann.close()
    assert await read_lines(tmp_path) == [b"START", b"JOINED ann"]


async def test_close_without_a_loss_raises_nothing(host: RecordingHost, tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path, Policy())
    journal.start(host)
    journal.submit(make_batch(1, b"MSG ann a", b"MSG ann b"))
    await journal.close(3)


@pytest.mark.parametrize(
    ("size", "warnings"),
    [
        (2**28, []),
        (
            2**30,
            [
                (
                    "a file of the journal may have 1024 MiB, a start may take 20 s to check the last one:"
                    " with a smaller --journal-segment it is faster"
                )
            ],
        ),
    ],
    ids=["256M", "1G"],
)
async def test_large_segments_bring_a_warning_how_long_a_start_takes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int, warnings: list[str]
) -> None:
    await (await FileJournal.open(tmp_path, Policy(segment_bytes=size))).close()
    assert take_warnings(caplog) == warnings


@pytest.mark.parametrize(
    ("method", "problem"),
    [("append", "are lost: 2$"), ("close", "may lack lines, as the disk does not answer$")],
    ids=["write", "last sync"],
)
async def test_disk_that_hangs_does_not_hold_the_end(
    host: RecordingHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, problem: str
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    journal = await FileJournal.open(tmp_path, Policy())
    journal.start(host)
    with monkeypatch.context() as patch:
        patch.setattr(file, "CLOSE_TIMEOUT", 0.1)
        patch.setattr(JournalWriter, method, hang)
        journal.submit(make_batch(1, b"MSG ann a", b"MSG ann b"))
        with pytest.raises(JournalError, match=problem):
            await journal.close()
    with pytest.raises(JournalError, match="another server"):
        DirectoryLock(tmp_path)
    await journal._writer.close()
