"""What the fuzzer checks, of each input it begins with and of some more; it needs no fuzzer."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.invariants import HEAD, check, read_case

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())

pieces = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b"\r", b"MSG ", b"JOIN ", b"PING ", b"HISTORY ", b"\xff", b"\xff\xff"]),
    st.sampled_from([b"\xff\xfd\x01", b"\xff\xfb", b"\xff\xfa", b"\xff\xf0", b"\xc3", b"\x1b[2J"]),
    st.sampled_from(["\u202e", "\u2028", "\u0085", "\u0301" * 5, "\ufe0f", "\ufeff", "😀"]).map(str.encode),
    st.text(max_size=4).map(str.encode),
    st.binary(max_size=8),
    st.integers(1, 70).map(lambda size: b"x" * size),
)
inputs = st.tuples(st.binary(min_size=HEAD, max_size=HEAD), st.lists(pieces, max_size=20).map(b"".join))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_input_of_the_corpus_holds(path: Path) -> None:
    check(path.read_bytes())


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(inputs)
def test_made_up_input_holds(parts: tuple[bytes, bytes]) -> None:
    check(b"".join(parts))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_hold(data: bytes) -> None:
    check(data)


@given(st.binary(max_size=200))
def test_every_byte_behind_the_head_is_sent(data: bytes) -> None:
    assert read_case(data).stream == data[HEAD:]


def test_corpus_sends_in_every_way() -> None:
    cases = [read_case(path.read_bytes()) for path in CORPUS]
    assert {case.max_line for case in cases} == {8, 20, 64, 4096}
    assert {case.telnet for case in cases} == {case.ends for case in cases} == {True, False}
    assert len({len(case.packets) for case in cases}) > 10
