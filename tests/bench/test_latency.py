import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.bench.latency import Histogram, Latencies


def test_without_values_there_are_no_percentiles() -> None:
    assert Histogram().percentiles([50]) is None


def test_small_values_are_exact() -> None:
    histogram = Histogram()
    for value in range(1, 101):
        histogram.record(value)
    assert histogram.percentiles([0, 1, 50, 90, 99, 99.9, 100]) == [1, 1, 50, 90, 99, 100, 100]


def test_large_values_are_within_one_percent() -> None:
    histogram = Histogram()
    for value in range(1, 10_001):
        histogram.record(value * 1_000_000)
    found = histogram.percentiles([10, 50, 90, 99, 99.9])
    assert found == pytest.approx([1e9, 5e9, 9e9, 9.9e9, 9.99e9], rel=0.01)


@given(st.integers(0, 2**63))
def test_any_value_is_within_one_percent(value: int) -> None:
    histogram = Histogram()
    histogram.record(value)
    assert histogram.percentiles([50]) == pytest.approx([value], rel=0.01)


def test_a_value_stands_for_as_many_as_its_weight() -> None:
    histogram = Histogram()
    histogram.record(10, 9)
    histogram.record(20)
    assert histogram.percentiles([90, 91]) == [10, 20]


def test_what_was_sent_before_the_measurement_does_not_count() -> None:
    latencies = Latencies()
    latencies.add([1, 2], 90)
    latencies.begin(10)
    latencies.add([9, 10, 20], 30)
    assert latencies.histogram.percentiles([0, 50, 100]) == [10, 10, 20]


def test_of_many_that_arrive_together_a_few_stand_for_all() -> None:
    latencies = Latencies()
    latencies.begin(0)
    latencies.add(range(100), 100)
    assert latencies.histogram.percentiles([50, 100]) == pytest.approx([50, 100], abs=13)
