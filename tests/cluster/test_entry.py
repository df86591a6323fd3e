import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.entry import END, JOIN, LEAVE, Entry, decode_entry, encode_entry
from simple_chat.core.protocol import encode_message
from simple_chat.core.text import sanitize
from tests.harness.texts import CHARACTERS

nodes = st.from_regex(re.compile("[0-9a-f]{16}"), fullmatch=True)
numbers = st.integers(1, 2**63)
names = st.from_regex(re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,31}"), fullmatch=True)
texts = st.text(CHARACTERS, min_size=1).map(sanitize)
lines = st.one_of(
    st.builds(encode_message, names, texts),
    names.map(lambda name: JOIN + name.encode() + b"\n"),
    names.map(lambda name: LEAVE + name.encode() + b"\n"),
    st.just(END),
)


def test_entry_is_encoded_a_line_an_event() -> None:
    data = encode_entry("5f0c1e9ab2d4", 17, [b"MSG ann hello\n", b"JOIN bob\n", b"LEAVE cid\n", END])
    assert data == b"5f0c1e9ab2d4 17\nMSG ann hello\nJOIN bob\nLEAVE cid\nEND\n"


@given(st.integers(1), st.integers(0), nodes, numbers, st.lists(lines))
def test_encoded_entry_is_decoded(
    position: int, time: int, node: str, number: int, lines: list[bytes]
) -> None:
    entry = decode_entry(position, time, encode_entry(node, number, lines))
    assert entry == Entry(position, time, node, number, tuple(lines))


def test_heartbeat_has_no_lines() -> None:
    assert decode_entry(3, 5, encode_entry("a", 1, [])) == Entry(3, 5, "a", 1)


def test_message_that_is_no_entry_has_no_server_and_no_number() -> None:
    assert Entry(3, 5) == Entry(3, 5, "", 0, ())


def test_empty_lines_are_not_encoded() -> None:
    assert encode_entry("a", 1, [b"", b"MSG ann hi\n", b""]) == encode_entry("a", 1, [b"MSG ann hi\n"])


@pytest.mark.parametrize(
    "text",
    [
        "\r",
        "a\vb\fc\x1cd\x1ee\x00f",
        "a\N{NEXT LINE}b\N{LINE SEPARATOR}c\N{PARAGRAPH SEPARATOR}d",
        " MSG ann hi ",
        "\t",
        "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
    ],
)
def test_text_stays_in_one_line(text: str) -> None:
    line = encode_message("ann", text)
    assert decode_entry(1, 0, encode_entry("a", 1, [line, END])).lines == (line, END)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"node\n",
        b"node x\n",
        b" 1\n",
        b"node 1 2\n",
        b"MSG ann hello\n",
        b"\xff 1\n",
        b"node \xff\n",
        b"node " + b"9" * 5_000 + b"\n",
        b"node 1\nMSG ann it is cut o",
        b"\x1f\x8b\x08\x00\x00\x00",
    ],
)
def test_garbage_raises_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - nobody reads the message
        decode_entry(1, 0, data)


@given(st.binary())
def test_random_bytes_raise_nothing_but_value_error(data: bytes) -> None:
    try:
        entry = decode_entry(1, 0, data)
    except ValueError:
        return
    assert b"".join(entry.lines) in data


def test_cluster_has_three_replicas_and_a_lease_of_thirty_seconds_by_default() -> None:
    config = ClusterConfig(servers=("nats://localhost",))
    assert (config.room, config.replicas, config.creds, config.ca) == ("simple_chat", 3, None, None)
    assert (config.lease, config.heartbeat) == (30.0, 5.0)
