from simple_chat.cluster.message_index import MessageIndex


def index_of(*entries: tuple[int, int], reach: int) -> MessageIndex:
    index = MessageIndex()
    for messages, position in entries:
        index.add(messages, position, reach=reach)
    return index


def test_entries_are_kept_while_their_messages_are_needed() -> None:
    assert MessageIndex().positions == []
    assert index_of((1, 10), (1, 12), (1, 15), reach=3).positions == [10, 12, 15]
    assert index_of((1, 10), (1, 12), (1, 15), reach=2).positions == [12, 15]
    assert index_of((2, 10), (1, 12), (1, 15), reach=3).positions == [10, 12, 15]
    assert index_of((2, 10), (2, 12), (1, 15), reach=3).positions == [12, 15]


def test_last_entry_is_kept_however_many_messages_it_has() -> None:
    assert index_of((1, 10), (9, 12), reach=3).positions == [12]
    assert index_of((9, 12), reach=1).positions == [12]


def test_reach_may_change_from_entry_to_entry() -> None:
    index = index_of((1, 1), (1, 2), (1, 3), (1, 4), reach=4)
    index.add(1, 5, reach=2)
    assert index.positions == [4, 5]
    index.add(1, 6, reach=4)
    assert index.positions == [4, 5, 6]


def test_cleared_index_counts_anew() -> None:
    index = index_of((2, 10), (2, 12), reach=4)
    index.clear()
    assert index.positions == []
    for position in (20, 21):
        index.add(1, position, reach=2)
    assert index.positions == [20, 21]
