"""Where a stream begins is found however its bytes are cut."""

import pytest

from simple_chat.bench.sync_marker import Arrival, Mark

GOT = b"HELLO\nOK JOIN me\nJOINED b\nMSG s start-t-00000003\nMSG s start-t-00000004\nMSG a hello\nMS"


def test_marks_ascend() -> None:
    mark = Mark("t")
    assert [mark.next(), mark.next(), mark.last] == ["start-t-00000001", *2 * ["start-t-00000002"]]


@pytest.mark.parametrize("size", [1, 2, 7, 30, len(GOT)])
def test_the_stream_begins_behind_the_last_mark(size: int) -> None:
    arrival = Arrival("start-t-")
    for at in range(0, len(GOT), size):
        arrival.take(GOT[at : at + size])
    assert arrival.marked
    assert arrival.after("start-t-00000004") == b"MSG a hello\nMS"
    assert arrival.after("start-t-00000005") is None


def test_a_mark_counts_when_its_line_is_whole() -> None:
    arrival = Arrival("start-t-")
    arrival.take(b"MSG s start-t-00000003")
    assert arrival.after("start-t-00000003") is None
    arrival.take(b"\r\n")
    assert arrival.marked
    assert arrival.after("start-t-00000003") == b""


def test_marks_of_another_run_are_no_marks() -> None:
    arrival = Arrival("start-t-")
    arrival.take(b"MSG s start-u-00000003\n")
    assert not arrival.marked


def test_the_servers_last_answer_is_kept() -> None:
    arrival = Arrival("start-t-")
    arrival.take(b"HELLO\nERR name-taken\nx")
    assert arrival.last_line == b"ERR name-taken"
