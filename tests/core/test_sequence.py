from array import array

from simple_chat.core.backlog import NO_AUTHOR, Batch
from simple_chat.core.sequence import Sequence

ANN, BOB = 1, 2


def test_lines_are_numbered_and_gathered_until_they_are_sealed() -> None:
    sequence = Sequence()
    assert [sequence.append(ANN, b"a\n"), sequence.append(BOB, b"bb\n")] == [0, 1]
    assert (sequence.end, sequence.open_size, sequence.backlog.end) == (2, 5, 0)
    batch = sequence.seal(3.0)
    assert batch is not None
    assert (batch.first, batch.end, batch.data, batch.time) == (0, 2, b"a\nbb\n", 3.0)
    assert (sequence.end, sequence.open_size) == (2, 0)


def test_next_batch_is_sealed_only_once_the_last_one_was_released() -> None:
    sequence = Sequence()
    sequence.append(ANN, b"a\n")
    first = sequence.seal(0.0)
    sequence.append(ANN, b"b\n")
    assert sequence.seal(0.0) is None
    assert first is not None
    sequence.release(first)
    second = sequence.seal(0.0)
    assert second is not None
    assert (second.first, second.data) == (1, b"b\n")


def test_own_lines_are_counted_released_sealed_and_open() -> None:
    sequence = Sequence()
    for author in (ANN, BOB, ANN):
        sequence.append(author, b"x\n")
        if batch := sequence.seal(0.0):
            sequence.release(batch)
    sequence.append(ANN, b"x\n")
    sequence.seal(0.0)
    for author in (BOB, ANN, ANN):
        sequence.append(author, b"x\n")
    assert [sequence.count_own(ANN, start) for start in range(8)] == [5, 4, 4, 3, 2, 2, 1, 0]


def test_each_line_has_the_time_it_was_stamped_with() -> None:
    sequence = Sequence()
    sequence.append(ANN, b"unstamped\n", message=True)
    sequence.stamp(1.0)
    sequence.stamp(2.0)
    sequence.append(NO_AUTHOR, b"MSG 2\n", message=True)
    sequence.stamp(3.0)
    sequence.append(NO_AUTHOR, b"MSG 3\n", message=True)
    batch = sequence.seal(0.5)
    assert batch is not None
    assert [time for _, time, _ in batch.iter_lines(0, 9)] == [0.5, 2.0, 3.0]
    sequence.release(batch)
    assert list(sequence.history(None)) == [(2.0, b"MSG 2\n"), (3.0, b"MSG 3\n")]
    sequence.clear_history()
    assert list(sequence.history(None)) == []


def test_stamps_without_lines_do_not_gather() -> None:
    sequence = Sequence()
    sequence.append(ANN, b"a\n")
    for second in range(100):
        sequence.stamp(float(second))
        if second == 50:
            sequence.append(ANN, b"b\n")
    assert sequence._times == [(1, 50.0), (2, 99.0)]


def test_batch_that_begins_with_a_stamp_has_no_other_time() -> None:
    sequence = Sequence()
    for time in (2.0, 3.0):
        sequence.stamp(time)
        sequence.append(ANN, b"a\n")
    batch = sequence.seal(9.0)
    assert batch is not None
    assert batch.time == 2.0


def test_restored_batch_is_history_and_its_numbers_go_on() -> None:
    sequence = Sequence()
    lines = [b"START\n", b"MSG ann hi\n"]
    sequence.restore(Batch(40, lines, array("Q", [NO_AUTHOR] * 2), [(40, 8.0)]))
    assert sequence.end == 42
    assert list(sequence.history(None)) == [(8.0, b"MSG ann hi\n")]
    assert sequence.append(ANN, b"MSG ann again\n", message=True) == 42


def test_history_limit_can_change_and_what_was_forgotten_stays_so() -> None:
    sequence = Sequence(history=3)
    for number in range(5):
        sequence.append(ANN, b"MSG ann %d\n" % number, message=True)
    batch = sequence.seal(0.0)
    assert batch is not None
    sequence.release(batch)
    reached = []
    for limit in (3, 2, 9, 0, 9):
        sequence.history_limit = limit
        reached.append([line[-2:-1] for _, line in sequence.history(None)])
    assert sequence.history_limit == 9
    assert reached == [[b"2", b"3", b"4"], [b"3", b"4"], [b"3", b"4"], [], []]
