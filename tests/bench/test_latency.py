import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.bench.latency import Histogram, LatencyRecorder


def test_empty_histogram_has_no_percentiles() -> None:
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


def test_weight_counts_a_value_several_times() -> None:
    histogram = Histogram()
    histogram.record(10, 9)
    histogram.record(20)
    assert histogram.percentiles([90, 91]) == [10, 20]


def test_messages_sent_before_the_measurement_are_not_recorded() -> None:
    recorder = LatencyRecorder()
    recorder.record_batch([1, 2], 90)
    recorder.start(10)
    recorder.record_batch([9, 10, 20], 30)
    assert recorder.histogram.percentiles([0, 50, 100]) == [10, 10, 20]


def test_large_batch_is_sampled() -> None:
    recorder = LatencyRecorder()
    recorder.start(0)
    recorder.record_batch(range(100), 100)
    assert recorder.histogram.percentiles([50, 100]) == pytest.approx([50, 100], abs=13)
