"""A snapshot is what it was before it became bytes."""

import json

from simple_chat.cluster.snapshot import Snapshot, decode_snapshot, encode_snapshot, position_after

SNAPSHOT = Snapshot(7, [3, 5], {"now": 1, "time": 2, "nodes": [["a", 1, 1]]}, {"a": ["ann", "bob"]})


def test_snapshot_is_decoded_as_it_was_encoded() -> None:
    assert decode_snapshot(encode_snapshot(SNAPSHOT)) == SNAPSHOT


def test_log_goes_on_behind_the_snapshot_or_begins_where_there_is_none() -> None:
    assert [position_after(None), position_after(encode_snapshot(SNAPSHOT))] == [1, 8]


def test_snapshot_of_a_crowd_is_compressed() -> None:
    crowd = SNAPSHOT._replace(names={"a": [f"user{number}" for number in range(1_000)]})
    assert len(encode_snapshot(crowd)) < len(json.dumps(crowd._asdict())) / 2
