import unicodedata
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.text import MARKS_MAX, is_name, name_key, name_problem, sanitize
from tests.harness.texts import CHARACTERS

C0 = [chr(code) for code in range(0x20) if chr(code) != "\t"]
REPLACED = [
    *map(chr, range(0x80, 0xA0)),
    *"\u2028\u2029",
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]
HARMFUL = frozenset([*C0, "\x7f", *REPLACED])
MARKS = ["\u0300", "\u0301", "\u0489", "\u064b", "\u20dd", "\ufe0f", "\U000e0100"]


def is_mark(char: str) -> bool:
    return unicodedata.category(char).startswith("M")


def longest_run_of_marks(text: str) -> int:
    return max((len(list(run)) for mark, run in groupby(text, is_mark) if mark), default=0)


any_text = st.text(CHARACTERS | st.sampled_from([*HARMFUL, *MARKS]), max_size=40) | st.lists(
    st.sampled_from(MARKS) | CHARACTERS, max_size=40
).map("".join)
letters = CHARACTERS.filter(lambda char: char not in HARMFUL and not is_mark(char))
clean_text = st.lists(
    st.tuples(letters, st.text(st.sampled_from(MARKS), max_size=MARKS_MAX)).map("".join), max_size=10
).map("".join)


@pytest.mark.parametrize("name", ["a", "Z", "0", "ann", "a.b_c-d", "9-", "a..", "x" * 32])
def test_valid_name_is_accepted(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *["", ".a", "_a", "-a", "x" * 33, "a b", " a", "a ", "a\n", "a\r", "a\t", "a\x00", "a/b", "a:"],
        *["ä", "aé", "а", "a\u0300", "١", "²", "a\u202e", "a\u2028"],  # noqa: RUF001 (intentional)
    ],
)
def test_invalid_name_is_rejected(name: str) -> None:
    assert not is_name(name)


def test_name_key_ignores_case() -> None:
    assert name_key("Ann.B-9_") == name_key("aNN.b-9_") != name_key("Anna")


@pytest.mark.parametrize("control", C0)
def test_c0_control_is_replaced_by_its_control_picture(control: str) -> None:
    assert sanitize(f"a{control}b") == f"a{chr(0x2400 + ord(control))}b"


def test_escape_and_delete_are_replaced_by_control_pictures() -> None:
    assert sanitize("\x1b[2J\x7f") == "\u241b[2J\u2421"


def test_tab_is_kept() -> None:
    assert sanitize("a\tb") == "a\tb"
    assert sanitize("ä\tb") == "ä\tb"


@pytest.mark.parametrize("char", REPLACED)
def test_c1_separators_and_bidi_controls_are_replaced(char: str) -> None:
    assert sanitize(f"a{char}b") == "a\ufffdb"


@pytest.mark.parametrize(
    "text",
    [
        "plain ASCII, ~`!@#$%^&*()",
        "Grüße, naïve façade, Ελληνικά, Русский, 日本語, 한국어",
        "e\u0301 and \u0915\u094d\u0937\u0947 and \u05d1\u05b0\u05bc",  # combining marks of natural languages
        "👩‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🇩🇪 1️⃣",
        "❤️" * 30,
        "क्" * 30,
        # Characters adjacent to replaced ones:
        "\u00a0\u00ad\u061b\u061d\u200b\u200c\u200d\u2010\u2027\u202f\u2060\u2065\u206a\ufeff",
        "a" + "\u0301" * 8,
        "\U0010ffff",
    ],
)
def test_clean_text_is_unchanged(text: str) -> None:
    assert sanitize(text) == text


@pytest.mark.parametrize("mark", MARKS)
def test_combining_marks_are_limited_to_eight(mark: str) -> None:
    assert sanitize(f"a{mark * 9}b{mark * 100}c") == f"a{mark * 8}b{mark * 8}c"


def test_different_marks_count_toward_one_limit() -> None:
    assert sanitize("日" + "\u0300\u0489" * 5 + "本") == "日" + "\u0300\u0489" * 4 + "本"


def test_combining_grave_accent_is_the_first_mark_in_unicode() -> None:
    assert next(char for char in map(chr, range(0x110000)) if is_mark(char)) == "\u0300"


@given(any_text)
def test_sanitize_is_idempotent(text: str) -> None:
    once = sanitize(text)
    assert sanitize(once) == once


@given(any_text)
def test_sanitized_text_contains_no_harmful_characters(text: str) -> None:
    sanitized = sanitize(text)
    assert HARMFUL.isdisjoint(sanitized)
    assert longest_run_of_marks(sanitized) <= MARKS_MAX


@given(any_text)
def test_sanitize_removes_only_marks(text: str) -> None:
    sanitized = sanitize(text)
    kept = [char for char in sanitized if not is_mark(char)]
    given_chars = [char for char in text if not is_mark(char)]
    assert len(kept) == len(given_chars)
    assert all(new == old or old in HARMFUL for new, old in zip(kept, given_chars, strict=True))


@given(clean_text)
def test_generated_clean_text_is_unchanged(text: str) -> None:
    assert sanitize(text) == text


def test_problem_of_a_name_shows_the_name() -> None:
    assert name_problem("a b").startswith("'a b' is not a valid name: ")
