"""The begin of a stream is found however its bytes are split."""

import pytest

from simple_chat.bench.sync_marker import SyncBuffer, SyncMarker

RECEIVED = b"HELLO\nOK JOIN me\nJOINED b\nMSG s start-t-00000003\nMSG s start-t-00000004\nMSG a hello\nMS"


def test_markers_ascend() -> None:
    marker = SyncMarker("t")
    assert [marker.next(), marker.next(), marker.last] == ["start-t-00000001", *2 * ["start-t-00000002"]]


@pytest.mark.parametrize("size", [1, 2, 7, 30, len(RECEIVED)])
def test_stream_begins_behind_the_last_marker(size: int) -> None:
    buffer = SyncBuffer("start-t-")
    for at in range(0, len(RECEIVED), size):
        buffer.feed(RECEIVED[at : at + size])
    assert buffer.synced
    assert buffer.data_after("start-t-00000004") == b"MSG a hello\nMS"
    assert buffer.data_after("start-t-00000005") is None


def test_marker_counts_once_its_line_is_complete() -> None:
    buffer = SyncBuffer("start-t-")
    buffer.feed(b"MSG s start-t-00000003")
    assert buffer.data_after("start-t-00000003") is None
    buffer.feed(b"\r\n")
    assert buffer.synced
    assert buffer.data_after("start-t-00000003") == b""


def test_markers_of_another_run_are_ignored() -> None:
    buffer = SyncBuffer("start-t-")
    buffer.feed(b"MSG s start-u-00000003\n")
    assert not buffer.synced


def test_last_line_before_a_marker_is_kept() -> None:
    buffer = SyncBuffer("start-t-")
    buffer.feed(b"HELLO\nERR name-taken\nx")
    assert buffer.last_line == b"ERR name-taken"
