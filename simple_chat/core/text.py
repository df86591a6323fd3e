"""Validates names and sanitizes texts, so that neither can harm the terminal it is shown on.

A terminal obeys control characters, so those become visible pictures; bidi controls can reorder a line, and a
long run of combining marks paints over the lines above.
"""

import re
import unicodedata

MARKS_MAX = 8
"""Consecutive combining marks that are kept: more than any written language stacks on one letter."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_BIDI_CONTROLS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_LINE_SEPARATORS = (0x2028, 0x2029)
_SHOWN: dict[int, str] = {
    **{control: chr(0x2400 + control) for control in range(0x20) if control != ord("\t")},
    0x7F: "\N{SYMBOL FOR DELETE}",
    **dict.fromkeys((*range(0x80, 0xA0), *_LINE_SEPARATORS, *_BIDI_CONTROLS), _REPLACEMENT),
}

# U+0300 is the first combining mark of Unicode. A run of characters from there on is only a candidate,
# found at the speed of C; what in it is a mark is looked up character by character. The set is given by what
# is not in it: to compile a range up to the last character takes 2 ms of each program's start.
_MAYBE_MARKS = re.compile(rf"[^\x00-\u02ff]{{{MARKS_MAX + 1},}}")


def is_name(text: str) -> bool:
    """Return whether a text is a valid name: 1 to 32 of ``A-Z a-z 0-9 . _ -``, first a letter or a digit."""
    return _NAME.fullmatch(text) is not None


def name_key(name: str) -> str:
    """Return the key by which names are unique: whatever their case."""
    key = name.lower()
    return name if key == name else key  # which is kept as long as the name: one object is less


def sanitize(text: str) -> str:
    """Return a text that is safe to show on any terminal; a safe one is returned unchanged.

    Idempotent, so that a client may sanitize again what the server has sanitized.

    Args:
        text: one line, without its line end.

    Returns:
        The text with control characters made visible and bidi controls replaced, at most `MARKS_MAX`
        combining marks in a row.
    """
    if text.isascii():
        return text if text.isprintable() else text.translate(_SHOWN)
    return _MAYBE_MARKS.sub(_cut_marks, text.translate(_SHOWN))


def _cut_marks(run: re.Match[str]) -> str:
    kept: list[str] = []
    marks = 0
    for char in run.group():
        marks = marks + 1 if unicodedata.category(char).startswith("M") else 0
        if marks <= MARKS_MAX:
            kept.append(char)
    return "".join(kept)
