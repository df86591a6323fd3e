import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.limits import BURST, RATE, Limits

ROUNDING = Fraction(1, 1000)
"""Tolerated floating-point error, in lines, at the times and rates tested here."""

limits = st.builds(Limits, rate=st.integers(1, 1000), burst=st.integers(1, 1000))
visits = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 2000)),  # milliseconds since the last one, lines wanted
    max_size=40,
)
clocks = st.integers(0, 1_000_000)  # start values of the monotonic clock, in seconds


class Client:
    """A client whose lines are accepted as far as the limits allow."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._empty_at = -math.inf

    def allowed(self, now: float) -> int:
        return self._limits.allowed(self._empty_at, now)

    def send(self, lines: int, now: float) -> int:
        """Send lines; return how many are accepted."""
        if taken := min(lines, self.allowed(now)):
            self._empty_at = self._limits.after(taken, self._empty_at, now)
        return taken


def test_default_limits_allow_a_burst_and_then_the_rate() -> None:
    client = Client(Limits())
    assert [client.send(1000, now) for now in (0.0, 0.0, 1.0, 2.0)] == [BURST, 0, RATE, RATE]


@pytest.mark.parametrize(
    ("rate", "burst", "sent", "taken"),
    [
        (2, 5, [(0.0, 12), (0.25, 9), (0.5, 9), (1.0, 9), (1.4, 9), (1.5, 9)], [5, 0, 1, 1, 0, 1]),
        (2, 5, [(0.0, 3), (0.0, 3), (100.0, 9), (100.5, 9)], [3, 2, 5, 1]),  # a pause restores the burst
        (
            20,
            1,
            [(0.0, 99), (0.5, 99), (60.0, 99)],
            [20, 10, 20],
        ),  # but one visit per second gets the full rate
        (1, 1, [(0.0, 2), (0.999, 2), (1.0, 2), (2.0, 2)], [1, 0, 1, 1]),
        (20, 20, [(0.0, 20), (0.05, 1), (0.1, 1), (0.15, 1)], [20, 1, 1, 1]),
    ],
)
def test_accepted_lines_follow_rate_and_burst(
    rate: int, burst: int, sent: list[tuple[float, int]], taken: list[int]
) -> None:
    client = Client(Limits(rate=rate, burst=burst))
    assert [client.send(lines, now) for now, lines in sent] == taken


@pytest.mark.parametrize("start", [0.0, 0.3, 12_345.678, 1e6])
@pytest.mark.parametrize("rate", [1, 3, 7, 20, 60, 999])
def test_one_line_is_allowed_per_rate_interval_at_any_clock_value(rate: int, start: float) -> None:
    client = Client(Limits(rate=rate, burst=1))
    client.send(10_000, start)
    assert [client.send(1, start + number / rate) for number in range(1, 50)] == [1] * 49


def test_changed_limits_hold_for_whoever_has_them_already() -> None:
    limits = Limits(rate=2, burst=5)
    one, two = Client(limits), Client(limits)
    assert (one.send(9, 0.0), two.send(9, 0.0)) == (5, 5)
    limits.change(100, 4, 8)
    assert limits == Limits(100, 4, 8)
    assert [one.send(9, now) for now in (1.0, 2.0, 60.0)] == [4, 4, 8]
    limits.change(100, 1, 1)
    assert [two.send(9, now) for now in (60.0, 60.5, 61.0)] == [1, 0, 1]


@given(limits, clocks, visits)
def test_allowed_lines_match_an_exact_token_bucket(
    limits: Limits, start: int, sent: list[tuple[int, int]]
) -> None:
    most = max(limits.burst, limits.rate)
    client = Client(limits)
    due, now = Fraction(most), Fraction(start)
    for milliseconds, wanted in sent:
        elapsed = Fraction(milliseconds, 1000)
        now += elapsed
        due = min(due + elapsed * limits.rate, Fraction(most))
        assert math.floor(due - ROUNDING) <= client.allowed(float(now)) <= math.floor(due + ROUNDING)
        due -= client.send(wanted, float(now))


@given(limits, clocks, visits)
def test_no_interval_exceeds_burst_plus_rate(limits: Limits, start: int, sent: list[tuple[int, int]]) -> None:
    client = Client(limits)
    now, total = Fraction(start), 0
    taken = [(now, 0)]  # time, total accepted
    for milliseconds, wanted in sent:
        now += Fraction(milliseconds, 1000)
        taken.append((now, total))
        total += client.send(wanted, float(now))
        taken.append((now, total))
    for (begin, before), (end, after) in combinations(taken, 2):
        most = max(limits.burst, limits.rate) + (end - begin) * limits.rate
        assert after - before <= most + ROUNDING
