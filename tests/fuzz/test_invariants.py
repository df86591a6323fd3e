"""The invariants hold for the fuzzer's corpus and for some generated inputs; needs no fuzzer."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.invariants import HEAD, check, parse_case
from tests.harness.texts import CHARACTERS

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())

pieces = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b"\r", b"MSG ", b"JOIN ", b"PING ", b"HISTORY ", b"\xff", b"\xff\xff"]),
    st.sampled_from([b"\xff\xfd\x01", b"\xff\xfb", b"\xff\xfa", b"\xff\xf0", b"\xc3", b"\x1b[2J"]),
    st.sampled_from(["\u202e", "\u2028", "\u0085", "\u0301" * 5, "\ufe0f", "\ufeff", "😀"]).map(str.encode),
    st.text(CHARACTERS, max_size=4).map(str.encode),
    st.binary(max_size=8),
    st.integers(1, 70).map(lambda size: b"x" * size),
)
inputs = st.tuples(st.binary(min_size=HEAD, max_size=HEAD), st.lists(pieces, max_size=20).map(b"".join))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_invariants_hold_for_the_corpus(path: Path) -> None:
    check(path.read_bytes())


@settings(max_examples=4 * settings().max_examples)
@given(inputs)
def test_invariants_hold_for_generated_pieces(parts: tuple[bytes, bytes]) -> None:
    check(b"".join(parts))


@settings(max_examples=3 * settings().max_examples)
@given(st.binary(max_size=60))
def test_invariants_hold_for_random_bytes(data: bytes) -> None:
    check(data)


@given(st.binary(max_size=200))
def test_all_bytes_after_the_head_are_sent(data: bytes) -> None:
    assert parse_case(data).stream == data[HEAD:]


def test_corpus_covers_all_settings() -> None:
    cases = [parse_case(path.read_bytes()) for path in CORPUS]
    assert {case.max_line for case in cases} == {8, 20, 64, 4096}
    assert {case.telnet for case in cases} == {case.eof for case in cases} == {True, False}
    assert len({len(case.packets) for case in cases}) > 10
