"""Which segments are beyond what is to be kept.

Pure.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """The time that a segment covers, in seconds since the epoch.

    Attributes:
        begin: time of its first record.
        end: when it was closed, or written to last.
    """

    begin: float
    end: float


def count_beyond_size(sizes: Sequence[int], limit: int) -> int:
    """Return how many segments are too many for a limit, of which the last is always kept.

    Args:
        sizes: bytes of all segments, oldest first.
        limit: bytes that they may have together.
    """
    total = sum(sizes)
    for index, size in enumerate(sizes):
        if total <= limit:
            return index
        total -= size
    return max(len(sizes) - 1, 0)


def count_beyond_age(spans: Sequence[Span], limit: float, leap: float) -> int:
    """Return how many segments are older than a limit, of which the last is always kept.

    No clock is asked, and none of those that wrote the records is believed: a segment's age is the time that
    the later ones cover, up to the beginning of the last. Where the clock leapt between two segments, forward
    or back, no time counts.

    Args:
        spans: of all segments, oldest first.
        limit: seconds.
        leap: seconds from one segment to the next that are too many to be a pause.
    """
    age = 0.0
    pairs = list(pairwise(spans))
    for index in reversed(range(len(pairs))):
        span, following = pairs[index]
        end = span.end if span.begin <= span.end <= following.begin + leap else span.begin
        pause = following.begin - end
        age += pause if 0 < pause <= leap else 0
        if age > limit:
            return index + 1
        age += end - span.begin
    return 0
